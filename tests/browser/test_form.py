"""Forms made from input schemas: what they begin with, what they read, what they refuse, and what they survive."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Page

from tests.fixtures.console import Console
from tests.fixtures.hostile import HOSTILE

pytestmark = pytest.mark.asyncio(loop_scope="session")

MAKE = """async (schema) => {
    const [{ form }, json, dom] = await Promise.all(
        ["form", "json_text", "dom"].map((name) => import(`/assets/core/${name}.js`)));
    const made = form(json.parse(schema), { onChange: () => { window.changes = (window.changes ?? 0) + 1; } });
    document.querySelector("main").replaceChildren(made.element);
    Object.assign(window, { made, json });
}"""
READ = "json.write(made.read(), { tight: true })"
WRITE = "(text) => { made.write(json.parse(text)); return json.write(made.read(), { tight: true }); }"
CHECK = "async () => (await made.check()).map(({ path, message }) => `${path.join('.')}: ${message}`)"
NUMBER = {"type": "number"}
TEXT = {"type": "string"}
POINT = {"type": "object", "properties": {"lat": NUMBER, "lon": NUMBER}, "required": ["lat"]}
TREE = {
    "type": "object",
    "properties": {"root": {"$ref": "#/$defs/node"}},
    "required": ["root"],
    "$defs": {
        "node": {
            "type": "object",
            "required": ["name", "child"],
            "properties": {"name": TEXT, "child": {"$ref": "#/$defs/node"}},
        }
    },
}
SHAPES = {
    "oneOf": [
        {"title": "Circle", "type": "object", "required": ["radius"], "properties": {"radius": NUMBER}},
        {"title": "Square", "type": "object", "required": ["side"], "properties": {"side": NUMBER}},
    ]
}


def props(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def needs(**properties: Any) -> dict[str, Any]:
    return props(**properties) | {"required": [*properties]}


@asynccontextmanager
async def blank(console: Console) -> AsyncIterator[Page]:
    async with console.opened(None) as page:
        await page.goto("/login")
        yield page


async def make(page: Page, schema: Any) -> None:
    await page.evaluate(MAKE, json.dumps(schema))


async def begun(page: Page, schema: Any) -> Any:
    await make(page, schema)
    return json.loads(await page.evaluate(READ))


STARTS: dict[str, tuple[Any, Any]] = {
    "nothing": ({}, {}),
    "no value without a default": (props(a=TEXT, b=NUMBER, c={"type": "boolean"}), {}),
    "defaults": (props(a=TEXT | {"default": "x"}, b=NUMBER | {"default": 2}), {"a": "x", "b": 2}),
    "a default of false and 0": (
        props(a={"type": "boolean", "default": False}, b={**NUMBER, "default": 0}),
        {"a": False, "b": 0},
    ),
    "an empty text as default": (props(a=TEXT | {"default": ""}), {"a": ""}),
    "null as default is none": (props(a={"anyOf": [TEXT, {"type": "null"}], "default": None}), {}),
    "a default beside anyOf": (props(a={"anyOf": [{"type": "integer"}, {"type": "null"}], "default": 7}), {"a": 7}),
    "a default object": (props(a=POINT | {"default": {"lat": 1}}), {"a": {"lat": 1}}),
    "a default list": (props(a={"type": "array", "items": TEXT, "default": ["x", "y"]}), {"a": ["x", "y"]}),
    "a default of an enum": (props(a={"enum": ["x", "y"], "default": "y"}), {"a": "y"}),
    "defaults within": (needs(a=props(b=TEXT | {"default": "x"})), {"a": {"b": "x"}}),
    "what is not needed stays closed": (props(a=props(b=TEXT | {"default": "x"})), {}),
    "a needed const": (needs(kind={"const": "a"}), {"kind": "a"}),
    "a const that is not needed": (props(kind={"const": "a"}), {}),
    "a list's least items": (
        needs(a={"type": "array", "items": props(b={"default": 1, "type": "integer"}), "minItems": 2}),
        {"a": [{"b": 1}, {"b": 1}]},
    ),
    "allOf": ({"allOf": [props(a=TEXT | {"default": "x"}), props(b=TEXT | {"default": "y"})]}, {"a": "x", "b": "y"}),
    "a reference": ({"$ref": "#/$defs/p", "$defs": {"p": props(a=TEXT | {"default": "x"})}}, {"a": "x"}),
    "a default beside a reference": (
        props(a={"$ref": "#/definitions/p", "default": "x"}) | {"definitions": {"p": TEXT}},
        {"a": "x"},
    ),
    "the first of oneOf": (needs(a={"oneOf": [needs(k={"const": "x"}), needs(k={"const": "y"})]}), {"a": {"k": "x"}}),
    "a default that is too long": (props(a=TEXT | {"default": "x" * 20_000}), {}),
    "a name that is special": (
        {"type": "object", "properties": {"constructor": TEXT | {"default": "x"}}},
        {"constructor": "x"},
    ),
}


async def test_a_form_begins_with_the_defaults(console: Console) -> None:
    async with blank(console) as page:
        begins = {name: await begun(page, schema) for name, (schema, _) in STARTS.items()}
    assert begins == {name: value for name, (_, value) in STARTS.items()}


KEEPS: dict[str, tuple[Any, str]] = {
    "texts": (props(a=TEXT, b=TEXT), '{"a":"line\\nbreak","b":""}'),
    "a carriage return": (props(a=TEXT), '{"a":"x\\r\\ny"}'),
    "numbers as typed": (props(a=NUMBER, b=NUMBER), '{"a":12345678901234567890,"b":1.0}'),
    "numbers beyond floats": (props(a=NUMBER), '{"a":1e400}'),
    "integers": (props(a={"type": "integer"}), '{"a":-0}'),
    "truth": (props(a={"type": "boolean"}, b={"type": "boolean"}), '{"a":true,"b":false}'),
    "null in a type list": (props(a={"type": ["string", "null"]}), '{"a":null}'),
    "null of an object": (props(a={"anyOf": [POINT, {"type": "null"}]}), '{"a":null}'),
    "null alone": (props(a={"type": "null"}), '{"a":null}'),
    "several types": (
        props(a={"type": ["string", "integer", "array"]}, b={"type": ["string", "integer"]}),
        '{"a":["x"],"b":7}',
    ),
    "an enum of all kinds": (
        props(a={"enum": [1, "1", None, {"x": [1]}]}, b={"enum": [1, "1"]}),
        '{"a":{"x":[1]},"b":"1"}',
    ),
    "titled values": (props(a={"oneOf": [{"const": 1, "title": "One"}, {"const": 2, "title": "Two"}]}), '{"a":2}'),
    "nested objects": (props(a=props(b=props(c=TEXT))), '{"a":{"b":{"c":"x"}}}'),
    "an empty object": (props(a=props(b=TEXT)), '{"a":{}}'),
    "lists of lists": (props(a={"type": "array", "items": {"type": "array", "items": NUMBER}}), '{"a":[[1,2],[],[3]]}'),
    "a long list": (
        props(a={"type": "array", "items": NUMBER}),
        json.dumps({"a": [*range(250)]}, separators=(",", ":")),
    ),
    "a tuple": (props(a={"prefixItems": [TEXT, NUMBER], "items": False}), '{"a":["x",1]}'),
    "an older tuple": (
        props(a={"type": "array", "items": [TEXT, NUMBER], "additionalItems": TEXT}),
        '{"a":["x",1,"y"]}',
    ),
    "the second form": (props(a=SHAPES), '{"a":{"side":2}}'),
    "a form of another type": (props(a={"anyOf": [TEXT, POINT, {"type": "array", "items": TEXT}]}), '{"a":["x"]}'),
    "a form by its const": (
        props(a={"anyOf": [needs(k={"const": "x"}, v=TEXT), needs(k={"const": "y"}, v=TEXT)]}),
        '{"a":{"k":"y","v":"z"}}',
    ),
    "forms beside properties": (props(n=TEXT) | SHAPES, '{"n":"x","side":1}'),
    "further properties": (props() | {"additionalProperties": NUMBER}, '{"x":1,"y y":2.50}'),
    "further properties that are not said": (props(a=TEXT), '{"a":"x","more":[1,{"deep":null}]}'),
    "properties by pattern": (
        {"type": "object", "patternProperties": {"^x": NUMBER}, "additionalProperties": False},
        '{"x1":1}',
    ),
    "a special name": (props(a=TEXT), '{"__proto__":{"x":1},"constructor":2}'),
    "a declared special name": (
        {"type": "object", "properties": json.loads('{"__proto__": {"type": "string"}}')},
        '{"__proto__":"x"}',
    ),
    "any JSON": (props(a={}, b=True), '{"a":{"x":[1.0]},"b":null}'),
    "what the form can't show": (props(a=NUMBER, b=POINT, c={"enum": ["x"]}), '{"a":"seven","b":[1],"c":"y"}'),
    "a date that is none": (props(a=TEXT | {"format": "date"}), '{"a":"tomorrow"}'),
    "a time with its zone": (props(a=TEXT | {"format": "date-time"}), '{"a":"2026-11-30T12:00:00+02:00"}'),
    "a long text": (props(a=TEXT), json.dumps({"a": "x" * 300_000}, separators=(",", ":"))),
    "a schema that refers to itself": (TREE, '{"root":{"name":"a","child":{"name":"b","child":{"name":"c"}}}}'),
    "if and then": (props(a=TEXT) | {"if": {"required": ["a"]}, "then": props(b=TEXT)}, '{"a":"x","b":"y"}'),
    "anyOf that only needs": (
        props(a=TEXT, b=TEXT) | {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        '{"b":"x"}',
    ),
    "allOf with types": (props(a={"allOf": [{"type": ["string", "integer"]}, {"type": "integer"}]}), '{"a":5}'),
    "an unknown type": (props(a={"type": "file"}), '{"a":[1]}'),
    "a schema of nothing": (props(a=False), '{"a":1}'),
    "another document": (props(a={"$ref": "https://example.org/x.json"}), '{"a":1}'),
}


async def test_a_form_keeps_what_the_json_says(console: Console) -> None:
    async with blank(console) as page:
        kept = {}
        for name, (schema, text) in KEEPS.items():
            await make(page, schema)
            kept[name] = await page.evaluate(WRITE, text)
            assert await page.evaluate(WRITE, "{}") == "{}", f"{name}: nothing is left"
    assert kept == {name: text for name, (_, text) in KEEPS.items()}


FAULTS: dict[str, tuple[Any, str, list[str]]] = {
    "what is needed": (needs(a=TEXT, b=POINT), "{}", ["a: is needed", "b: is needed"]),
    "what is needed within": (props(a=POINT), '{"a":{}}', ["a.lat: is needed"]),
    "what is needed and not declared": (
        {"type": "object", "required": ["x"], "properties": {"a": TEXT}},
        "{}",
        [": needs the property x"],
    ),
    "a kind": (props(a=NUMBER), '{"a":"x"}', ["a: must be number"]),
    "a whole number": (
        props(a={"type": "integer"}, b={"type": "integer"}),
        '{"a":1.5,"b":2.0}',
        ["a: must be a whole number"],
    ),
    "minimum": (props(a=NUMBER | {"minimum": 3}), '{"a":2}', ["a: must be at least 3"]),
    "maximum of a big number": (
        props(a={"type": "integer", "maximum": 9223372036854775807}),
        '{"a":9223372036854775808}',
        ["a: must be at most 9223372036854775807"],
    ),
    "exclusive bounds": (
        props(a=NUMBER | {"exclusiveMinimum": 0}, b=NUMBER | {"maximum": 5, "exclusiveMaximum": True}),
        '{"a":0,"b":5}',
        ["a: must be over 0", "b: must be under 5"],
    ),
    "multipleOf": (
        props(a=NUMBER | {"multipleOf": 0.01}, b=NUMBER | {"multipleOf": 3}),
        '{"a":19.99,"b":7}',
        ["b: must be a multiple of 3"],
    ),
    "lengths": (
        props(a=TEXT | {"minLength": 2}, b=TEXT | {"maxLength": 2}, c=TEXT | {"maxLength": 1}),
        '{"a":"x","b":"abc","c":"\U0001f468"}',
        ["a: must have at least 2 characters; it has 1", "b: must have at most 2 characters; it has 3"],
    ),
    "pattern": (
        props(a=TEXT | {"pattern": "^x"}, b=TEXT | {"pattern": "x"}),
        '{"a":"yx","b":"yx"}',
        ["a: must match ^x"],
    ),
    "a pattern without end": (props(a=TEXT | {"pattern": "^(a+)+$"}), json.dumps({"a": "a" * 40 + "!"}), []),
    "patterns without end, and one after them": (
        props(**{f"a{n}": TEXT | {"pattern": "^(a+)+$"} for n in range(9)}, b=TEXT | {"pattern": "^x"}),
        json.dumps({f"a{n}": "a" * 40 + "!" for n in range(9)} | {"b": "y"}),
        [],
    ),
    "a pattern that is none": (props(a=TEXT | {"pattern": "("}), '{"a":"x"}', []),
    "formats": (
        props(
            a=TEXT | {"format": "email"},
            b=TEXT | {"format": "uri"},
            c=TEXT | {"format": "date-time"},
            d=TEXT | {"format": "date"},
        ),
        '{"a":"nobody","b":"nowhere","c":"now","d":"tomorrow"}',
        [
            "a: must be an e-mail address",
            "b: must be a whole address, such as https://example.org",
            "c: must be a time with its zone, such as 2026-11-30T12:00:00Z",
            "d: must be a date, such as 2026-11-30",
        ],
    ),
    "items": (
        props(
            a={"type": "array", "items": NUMBER, "minItems": 2},
            b={"type": "array", "maxItems": 1},
            c={"type": "array", "uniqueItems": True},
        ),
        '{"a":["x"],"b":[1,2],"c":[1,1]}',
        [
            "a: must have at least 2 items; it has 1",
            "a.0: must be number",
            "b: must have at most 1 items; it has 2",
            "c: has an item twice",
        ],
    ),
    "unknown properties": (props(a=TEXT) | {"additionalProperties": False}, '{"x":1}', [": knows no property x"]),
    "a chosen form": (props(a=SHAPES), '{"a":{"side":"x"}}', ["a.side: must be number"]),
    "null where it is not allowed": (props(a=TEXT), '{"a":null}', ["a: must be text"]),
}


async def test_a_form_names_what_does_not_fit(console: Console) -> None:
    async with blank(console) as page:
        found = {}
        for name, (schema, text, _) in FAULTS.items():
            await make(page, schema)
            await page.evaluate(WRITE, text)
            found[name] = await page.evaluate(CHECK)
            assert await page.locator(".form-fault:visible").count() == len(found[name]), name
    assert found == {name: faults for name, (_, _, faults) in FAULTS.items()}


EXPLAINS = [
    ('a.b: must be of type "string"', "a.b", 'must be of type "string"'),
    ("a: 'b' is required", "a.b", "is needed"),
    ("the arguments: 'c', 'x.y' is required", "c", "is needed"),
    ("x.y: must be one of [1]", "x.y", "must be one of [1]"),
    ('l.1: must be of type "number"', "l.1", 'must be of type "number"'),
    ("gone.away: is not allowed", "", "gone.away: is not allowed"),
    ("nothing", "", "nothing"),
]


async def test_what_the_hub_refuses_stands_at_its_field(console: Console) -> None:
    schema = props(a=props(b=TEXT), c=TEXT, l={"type": "array", "items": NUMBER}) | {"additionalProperties": True}
    schema["properties"]["x.y"] = TEXT
    explain = "(line) => made.explain([line]).map(({ path, message }) => [path.join('.'), message])[0]"
    async with blank(console) as page:
        await make(page, schema)
        await page.evaluate(WRITE, '{"a":{"b":"x"},"l":[1,2]}')
        for line, path, message in EXPLAINS:
            assert await page.evaluate(explain, line) == [path, message], line
            assert await page.locator(".form-fault:visible").first.inner_text() == message


async def test_a_form_is_filled_in_by_hand(console: Console) -> None:
    schema = needs(
        name=TEXT,
        count={"type": "integer"},
        size={"enum": ["s", "m"]},
        on={"type": "boolean"},
    ) | {"additionalProperties": NUMBER}
    schema["properties"] |= {"place": POINT, "tags": {"type": "array", "items": TEXT}, "shape": SHAPES}
    async with blank(console) as page:
        await make(page, schema)
        await page.get_by_label("name").fill("x")
        await page.get_by_label("count").fill("12345678901234567890")
        await page.get_by_label("size").select_option("m")
        await page.get_by_label("on", exact=False).last.select_option("true")
        await page.get_by_role("button", name="Add: place").click()
        await page.get_by_label("lat").fill("1.50")
        await page.get_by_role("button", name="Add: tags").click()
        for text in ("one", "two", "three"):
            await page.get_by_role("button", name="Add an item").click()
            await page.keyboard.type(text)
        await page.get_by_role("button", name="Up this item").last.click()
        await page.get_by_role("button", name="Remove this item").first.click()
        await page.get_by_role("button", name="Add: shape").click()
        await page.get_by_label("Form of shape").select_option("Square")
        await page.get_by_label("side").fill("3")
        await page.get_by_role("button", name="Add a property").click()
        await page.keyboard.type("extra")
        await page.get_by_label("value").fill("7")
        assert await page.evaluate(READ) == (
            '{"name":"x","count":12345678901234567890,"size":"m","on":true,"place":{"lat":1.50},'
            '"tags":["three","two"],"shape":{"side":3},"extra":7}'
        )
        assert await page.evaluate(CHECK) == []
        await page.get_by_role("button", name="Remove: place").click()
        assert "place" not in await page.evaluate(READ)


async def test_hostile_names_and_texts_do_no_harm(console: Console) -> None:
    texts = [
        *HOSTILE,
        "x" * 1_000_000,
        "\u202e" + "<b>" * 100_000,
        "__proto__",
        "constructor",
        "toString",
        "hasOwnProperty",
    ]
    texts = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
    schema = {
        "type": "object",
        "required": texts[::7],
        "properties": {
            text: {
                "type": "string",
                "title": text,
                "description": text,
                "default": text[:100],
                "enum": [text[:100], "x"],
            }
            if index % 2
            else {
                "type": "object",
                "description": text,
                "properties": {text: {"type": "string", "format": text, "pattern": text}},
            }
            for index, text in enumerate(texts)
        },
    }
    async with blank(console) as page:
        await make(page, schema)
        for _ in range(5):
            more = page.get_by_role("button", name="Show ", exact=False)
            if not await more.first.is_visible():
                break
        await page.evaluate(CHECK)
        assert await page.evaluate("document.querySelectorAll('main script, main img, main b, main a').length") == 0
        text = await page.evaluate("document.querySelector('main').textContent")
        assert "\u202e" not in text
        assert len(text) < 500_000


def depth(levels: int, wrap: Callable[[Any], Any]) -> Any:
    schema: Any = TEXT
    for _ in range(levels):
        schema = wrap(schema)
    return schema


FLOODS: dict[str, Any] = {
    "10,000 properties": {"type": "object", "properties": {f"p{n}": TEXT for n in range(10_000)}},
    "10,000 needed objects": needs(**{f"p{n}": POINT for n in range(10_000)}),
    "60 levels": depth(60, lambda inner: needs(a=inner)),
    "60 levels of lists": depth(60, lambda inner: {"type": "array", "items": inner, "minItems": 3}),
    "60 levels of oneOf": {
        "$ref": "#/$defs/a0",
        "$defs": {
            f"a{n}": {"oneOf": [needs(a={"$ref": f"#/$defs/a{n + 1}"}), needs(b={"$ref": f"#/$defs/a{n + 1}"})]}
            for n in range(60)
        }
        | {"a60": TEXT},
    },
    "a wide tree": needs(a={"$ref": "#/$defs/n"})
    | {"$defs": {"n": needs(**{f"c{n}": {"$ref": "#/$defs/n"} for n in range(20)})}},
    "a circle": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "a circle of allOf": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
    "allOf doubling": {
        "$ref": "#/$defs/a0",
        "$defs": {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(60)} | {"a60": {}},
    },
    "an enum of 100,000": props(a={"enum": [*range(100_000)]}),
    "oneOf of 10,000": props(a={"oneOf": [needs(k={"const": n}) for n in range(10_000)]}),
    "100,000 least items": needs(a={"type": "array", "items": POINT, "minItems": 100_000}),
    "a reference of a megabyte": props(a={"$ref": "#" + "/a" * 500_000}),
    "wrong kinds of everything": {
        "type": "object",
        "properties": props(
            a={
                "type": 7,
                "enum": "x",
                "minimum": "y",
                "items": 3,
                "required": "z",
                "properties": [1],
                "title": {},
                "description": 5,
            },
            b={"type": "string", "minLength": "x", "pattern": 3, "format": {}, "examples": 1, "default": {}},
            c={"type": "array", "items": "x", "prefixItems": 1, "minItems": {}, "maxItems": "q"},
            d={"oneOf": [1, None, "x"], "anyOf": {}, "allOf": "x", "$ref": 3, "const": None},
            e=None,
            g={"oneOf": [{"const": 1, "title": {}}, {"const": 2, "title": ["x"]}], "enumNames": 7},
            h={"exclusiveMinimum": "x", "multipleOf": {}, "type": "number", "title": {"a": 1}, "description": ["x"]},
        )["properties"],
        "required": {"x": 1},
    },
}


async def test_what_is_not_as_it_looks_is_never_shown_as_text(console: Console) -> None:
    async with blank(console) as page:
        await make(
            page, props(a=TEXT | {"default": "x\u202egnp.exe"}, b=TEXT | {"default": "\U0001f468\u200d\U0001f4bb"})
        )
        assert (
            await page.evaluate("json.write(made.read())")
            == '{\n  "a": "x\\u202egnp.exe",\n  "b": "\U0001f468\u200d\U0001f4bb"\n}'
        )
        await page.get_by_text("x⟨U+202E⟩gnp.exe").wait_for()
        assert await page.get_by_label("b").input_value() == "\U0001f468\u200d\U0001f4bb"
        await page.get_by_role("button", name="Clear: a").click()
        await page.get_by_label("a").fill("y")
        assert json.loads(await page.evaluate(READ))["a"] == "y"


async def test_a_flood_leaves_the_page_usable(console: Console) -> None:
    async with blank(console) as page:
        for name, schema in FLOODS.items():
            await make(page, schema)
            count = await page.evaluate("document.querySelectorAll('main *').length")
            assert count < 12_000, name
            await page.evaluate("async () => { await made.check(); made.write(made.read() ?? {}); }")


async def test_json_names_the_line_of_a_fault(console: Console) -> None:
    find = """([text, path]) => {
        try {
            json.parse(text);
            return json.lineOf(text, path);
        } catch (error) {
            return error.message;
        }
    }"""
    cases = [
        ('{\n "a": [\n  1,\n  2]}', ["a", 1], 4),
        ('{\n "a": 1,\n}', [], "Line 3, column 1: a name in double quotes is expected here."),
        ('{"a": 1, "a": 2}', [], 'Line 1, column 10: the name "a" stands here a second time.'),
        ("{\n'a': 1}", [], "Line 2, column 1: a name in double quotes is expected here."),
        (
            '{"a": "x\n"}',
            [],
            "Line 1, column 7: this text holds a line break, a control character or an unknown escape.",
        ),
        ("[" * 300, [], "Line 1, column 202: it is nested deeper than 200 levels."),
    ]
    async with blank(console) as page:
        await make(page, {})
        for text, path, told in cases:
            assert await page.evaluate(find, [text, path]) == told, text[:20]
