"""Names of the hub's own tools, and of what it puts into `_meta`."""

from nexus_hub.gateway.views import OWN_PREFIX as PREFIX

WAIT_TOOL = f"{PREFIX}job_wait"
RESULT_TOOL = f"{PREFIX}job_result"
CANCEL_TOOL = f"{PREFIX}job_cancel"
LIST_TOOL = f"{PREFIX}jobs"
OWN_TOOLS = (WAIT_TOOL, RESULT_TOOL, CANCEL_TOOL, LIST_TOOL)
JOB_META = "nexus-hub/job"
"""The member of `_meta` that has the id of the job behind an answer."""
