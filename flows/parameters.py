"""Types of flow parameters whose limits Prefect itself keeps: it refuses a value before it stores it.

Prefect drops `Annotated[..., Field]` and the limits of a `Field` that is the default, so that each is a class.
"""

from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from nexus_hub.models import DAYS_COMPLETED, DAYS_ORPHANED, MOST_DAYS

JsonSchema = dict[str, Any]


class Days(int):
    """A number of days, 0 to 3650."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.int_schema(strict=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        return handler(core) | {"minimum": 0, "maximum": MOST_DAYS}


class KeyId(str):
    """The id of a vault key, or nothing; a key that is typed in its place by mistake stays out of Prefect.

    A run that is started past Prefect's own check is not checked here: pydantic's error would repeat the value.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.str_schema()

    @classmethod
    def __get_pydantic_json_schema__(cls, core: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        return handler(core) | {"pattern": "^([0-9a-f]{8})?$"}


KEEP_ENDED, KEEP_ORPHANED, ANY_KEY = Days(DAYS_COMPLETED), Days(DAYS_ORPHANED), KeyId("")
