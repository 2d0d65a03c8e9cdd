"""Every error the hub raises on purpose.

HubError
├── InvalidRequest            400  a request that cannot be used
│   ├── InvalidArguments      422  arguments that break a tool's input schema
│   ├── InvalidName           400  a name that breaks the rules for names
│   ├── InvalidConfig         400  a server's configuration that cannot be used
│   ├── InvalidConfiguration  422  a configuration of the hub, its one file, that cannot be used
│   └── ForbiddenAddress      400  a URL that user servers may not point at
├── NotAuthenticated          401  no credential, or a wrong one
├── NotAllowed                403  a credential that may not do this
│   ├── ApprovalNeeded        403  a call that nobody has said yes to
│   ├── ApprovalDenied        403  a call that somebody has said no to
│   └── ApprovalExpired       403  a call to which the yes came too late, or not at all
├── NotFound                  404  nothing of that kind is visible to the caller
│   └── UnknownServer         404
├── Conflict                  409  the present state forbids it
│   ├── NameTaken             409
│   │   └── AlreadyRegistered 409  the very same server has the name
│   ├── PortTaken             409  another program listens on a port that `up` needs
│   ├── AlreadyRunning        409  another supervisor holds the home
│   ├── NotOffered            409  a tool or a server that is switched off, or a tool that waits for approval
│   ├── RefreshRunning        409  the server's catalog is being read already
│   ├── AtWork                409  another run of the same flow is at work
│   ├── RotationRunning       409  another rotation of the vault's keys is under way
│   ├── QuotaUsedUp           409  a user's servers, or what they offer, are as many as are allowed
│   ├── NoSecondKey           409  there is no key to rotate to
│   └── JobEnded              409
├── TooLarge                  413
├── RequestTimedOut           408  a request that did not arrive in time
├── RateLimited               429  with retry_after seconds
├── TooMany                   429  over a bound of this hub; `bound` is the setting, retry_after in seconds
├── InvalidKey                500  a vault key that is not 64 hex digits, or all zero
├── CannotOpen                500  sealed bytes that no key of the ring opens
│   └── UnboundValue          500  sealed bytes that are not bound, after a rotation
├── NotConfigured             500  a setting is missing
├── InvalidSetting            500  a setting with a value that is not allowed
├── UnsafeHome                500  a data directory that others could change
├── StartFailed               500  a service of the stack that did not come up
├── CannotMigrate             500  the database's schema can't be brought up to date
├── UpstreamError             502  the upstream MCP server
│   ├── UpstreamUnavailable   502  the call never reached it: safe to repeat
│   ├── LoginNeeded           409  only a person can go on: a login is not there, was refused, or lacks a scope
│   ├── LoginFailed           409  a login at the server's authorization server came to nothing
│   │   └── RefreshRefused    409  the authorization server gives no more tokens for a login
│   ├── UpstreamRejected      502  it refused the request: by a protocol error or a status that will not change
│   ├── MalformedResult       502  its answer breaks the protocol; the tool may have run
│   ├── OutcomeUnknown        502  the connection was lost after the call was sent
│   └── UpstreamTimedOut      504  no answer in time; the call may have had its effect
├── ExchangeFailed            502  a host that somebody named gave no answer that can be used
├── CheckFailed               500  the doctor found something wrong
├── RunCancelled              500  its flow run stops; no request meets it
├── MaintenanceFailed         500  a maintenance flow failed; `reason` is its code
├── InternalError             500  something that should not happen
│   └── NotOneRow             500  a query that always gives one row gave none, or several
├── PrefectUnavailable        503  Prefect's API does not answer, or not with what was asked for
│   ├── NoDeployment          503  it does not know the flow's deployment
│   └── PrefectRefused        503  it refuses this one request
├── DatabaseUnavailable       503  PostgreSQL does not answer
├── IssuerUnavailable         503  the keys of NEXUS_ISSUER can't be read
├── TookTooLong               503  a statement over NEXUS_STATEMENT_SECONDS
└── ApiProblem                     the hub's API answered a client with a problem, whose code and status it carries
    ├── RequestRefused             the request itself can't be used
    └── HubUnavailable             no hub answers just now

A message says what, which one and what to do, and never holds a secret. `code` is for machines: it is what
flows, tasks and the column `job_results.error_code` carry.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

MOST_FAULTS_TOLD = 20


class HubError(Exception):
    """Root of the tree; `code` is stable, `status` is the HTTP status that the API answers."""

    code: str = "hub-error"
    status: int = 500
    public: ClassVar[bool] = False
    """True if Prefect may store the message: it holds only our own words, ids and numbers."""

    @property
    def message(self) -> str:
        """The error in one sentence that holds no secret."""
        return str(self.args[0]) if self.args else self.code


class InvalidRequest(HubError):
    """A request that cannot be used."""

    code = "invalid-request"
    status = 400


class InvalidArguments(InvalidRequest):
    """Arguments that break the tool's input schema; `problems` has one line per place, without values."""

    code = "invalid-arguments"
    status = 422

    def __init__(self, tool: str, problems: list[str]) -> None:
        self.tool = tool
        self.problems = problems
        super().__init__(f"The arguments do not fit the input schema of {tool}: {'; '.join(problems)}.")


class InvalidName(InvalidRequest):
    """A name that breaks the rules for names."""

    code = "invalid-name"

    def __init__(self, kind: str, name: str, rule: str) -> None:
        self.kind = kind
        self.name = name
        super().__init__(f"{name[:80]!r} can't be the name of a {kind}: {rule}.")


class InvalidConfig(InvalidRequest):
    """A server's configuration that cannot be used."""

    code = "invalid-config"


@dataclass(frozen=True, slots=True)
class ConfigurationFault:
    """A fault of the hub's configuration: the way to it, and what is wrong, without any value.

    `of_key`: the key itself is wrong. `place`: line and column, where they are known without the way.
    """

    path: tuple[str | int, ...]
    problem: str
    of_key: bool = False
    place: tuple[int, int] | None = None

    def __str__(self) -> str:
        steps = (f"[{step}]" if isinstance(step, int) else f".{step[:80]}" for step in self.path)
        way = "".join(steps).removeprefix(".")
        return f"{way}: {self.problem}" if way else self.problem


class InvalidConfiguration(InvalidRequest):
    """A configuration of the hub that cannot be used; `faults` has all that is wrong with it."""

    code = "invalid-configuration"
    status = 422

    def __init__(self, faults: Sequence[ConfigurationFault]) -> None:
        self.faults = faults
        told = [str(fault) for fault in faults[:MOST_FAULTS_TOLD]]
        more = len(faults) - len(told)
        rest = f"; and {more} more" if more > 0 else ""
        super().__init__(f"The configuration can't be used: {'; '.join(told)}{rest}.")


class ForbiddenAddress(InvalidRequest):
    """A host that user servers may not point at, since it is private, loopback or link-local."""

    code = "forbidden-address"

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(
            f"The host {host} is a private, loopback or link-local address. User servers may not point there "
            "unless the operator sets NEXUS_ALLOW_PRIVATE_UPSTREAMS=true."
        )


class NotAuthenticated(HubError):
    """No credential, or one that is not good; `reason` says why not, in words that hold nothing of it."""

    code = "not-authenticated"
    status = 401

    def __init__(self, reason: str | None = None) -> None:
        self.reason = reason
        advice = "Send a known token as 'Authorization: Bearer <token>'."
        super().__init__(f"{reason} {advice}" if reason else advice)


class NotAllowed(HubError):
    """A credential that may not do this."""

    code = "not-allowed"
    status = 403


class InsufficientScope(NotAllowed):
    """The token is good, and not for this; `scopes` names all that are needed."""

    code = "insufficient-scope"

    def __init__(self, scopes: Iterable[str]) -> None:
        self.scopes = sorted(scopes)
        super().__init__(f"This token is not good for that; it needs the scopes {', '.join(self.scopes)}.")


class ApprovalNeeded(NotAllowed):
    """A call that a person has to say yes to before it is made, and nobody has said it to this very call."""

    code = "approval-needed"
    public = True

    def __init__(self) -> None:
        super().__init__(
            "A person has to say yes to this very call before it is made, and nobody has. "
            "Call it again through the hub: it is asked for, and waits."
        )


class ApprovalDenied(NotAllowed):
    """A call that somebody has said no to."""

    code = "approval-denied"
    public = True

    def __init__(self) -> None:
        super().__init__("The person who was asked for a yes to this call has said no.")


class ApprovalExpired(NotAllowed):
    """A call to which nobody has said yes in time, or that was not made in time after it."""

    code = "approval-expired"
    public = True

    def __init__(self) -> None:
        super().__init__("The time in which this call could be approved and made is over; call it again to ask anew.")


class NotFound(HubError):
    """Nothing of that kind is visible to the caller."""

    code = "not-found"
    status = 404

    def __init__(self, kind: str, ref: object) -> None:
        self.kind = kind
        self.ref = ref
        super().__init__(f"There is no {kind} {str(ref)[:200]!r}.")


class UnknownServer(NotFound):
    """There is no server of that name or id: nexus-hub server list shows those there are."""

    def __init__(self, ref: object) -> None:
        super().__init__("server", ref)


class Conflict(HubError):
    """The present state forbids it."""

    code = "conflict"
    status = 409


class NameTaken(Conflict):
    """A server or user of that name exists."""

    code = "name-taken"

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name
        super().__init__(f"The name {name!r} is taken by a {kind}; choose another one.")


class AlreadyRegistered(NameTaken):
    """The very same server is registered under that name."""

    code = "already-registered"

    def __init__(self, name: str) -> None:
        super().__init__("server", name)
        self.args = (f"The server {name!r} is registered already, with this very configuration.",)


class JobEnded(Conflict):
    """The job has ended, and what has ended does not change."""

    code = "job-ended"

    def __init__(self, job_id: object, status: str) -> None:
        super().__init__(f"The job {job_id} has ended as {status}; it can't be cancelled any more.")


class PortTaken(Conflict):
    """Another program listens on a port that `up` needs; `setting` moves ours."""

    code = "port-taken"

    def __init__(self, port: int, setting: str, holder: str | None) -> None:
        self.port = port
        self.setting = setting
        who = holder or "another program, perhaps of another user,"
        super().__init__(f"The port {port} is taken: {who} listens on it. Stop that, or set {setting} to a free port.")


class AlreadyRunning(Conflict):
    """Another supervisor holds the home; `pid` is its process."""

    code = "already-running"

    def __init__(self, home: object, pid: int | None) -> None:
        self.pid = pid
        by = f" as process {pid}" if pid else ""
        super().__init__(f"The hub of {home} is already running{by}; stop it with: nexus-hub down")


class NotOffered(Conflict):
    """A server or a tool that is there, and that nobody may use just now; said to who may change that."""

    code = "not-offered"

    def __init__(self, message: str, owner: object = None) -> None:
        self.owner = owner
        super().__init__(message)

    @classmethod
    def server(cls, name: str, owner: object = None) -> Self:
        """Say that a server is switched off; `owner` is the user whose own it is."""
        return cls(
            f"The server {name!r} is switched off: it is not contacted, and offers nothing. "
            f"Who looks after it can switch it on: nexus-hub server enable {name}",
            owner,
        )

    @classmethod
    def tool(cls, name: str, *, held: bool) -> Self:
        """Say that a tool waits for approval, or is switched off."""
        if held:
            return cls(
                f"The tool {name!r} is new or has changed, and waits for approval: "
                "see nexus-hub pin list, then nexus-hub pin diff and nexus-hub pin approve."
            )
        return cls(f"The tool {name!r} is switched off; switch it on: nexus-hub tool enable {name}")


class RefreshRunning(Conflict):
    """The server's catalog is being read already."""

    code = "refresh-running"

    def __init__(self, ref: object) -> None:
        super().__init__(f"The catalog of server {ref} is being read just now; look at it again in a moment.")


class AtWork(Conflict):
    """Another run of the same flow is at work."""

    code = "at-work"
    public = True

    def __init__(self, flow: str) -> None:
        super().__init__(f"Another run of {flow} is at work; wait for its end, or look at it in Prefect.")


class RotationRunning(Conflict):
    """Another rotation of the vault's keys, or a restore, is under way."""

    code = "rotation-running"
    public = True

    def __init__(self) -> None:
        super().__init__("A rotation of the vault's keys is under way; see how it ends with: nexus-hub vault status")


class QuotaUsedUp(Conflict):
    """A user's servers, or what they offer, are as many as are allowed; `setting` names the bound."""

    code = "quota-used-up"

    def __init__(self, what: str, limit: int, setting: str) -> None:
        self.limit = limit
        self.setting = setting
        super().__init__(f"A user may have at most {limit} {what} ({setting}); remove a server first.")


class NoSecondKey(Conflict):
    """There is no key to rotate to."""

    code = "no-second-key"
    public = True

    def __init__(self, remedy: str) -> None:
        super().__init__(f"There is no second key to rotate to: {remedy}")


class TooLarge(HubError):
    """A body, arguments or a result over the limit."""

    code = "too-large"
    status = 413

    def __init__(self, what: str, size: int, limit: int, *, setting: str = "") -> None:
        self.size = size
        self.limit = limit
        remedy = f" ({setting} on the hub's side)" if setting else ""
        super().__init__(f"{what} of {size} bytes is over the limit of {limit} bytes{remedy}.")

    @classmethod
    def listing(cls, server: str, limit: int, unit: str, setting: str) -> "TooLarge":
        """Make the error for a server, or a user's servers, that offer more than is kept."""
        error = cls(server, limit, limit)
        error.args = (f"{server}: more than {limit} {unit} are offered ({setting}).",)
        return error

    @classmethod
    def crowded(cls, what: str, limit: int, setting: str) -> "TooLarge":
        """Make the error for a JSON text with more values than are read."""
        error = cls(what, limit, limit)
        error.args = (f"{what} may hold at most {limit} values, lists and objects ({setting} on the hub's side).",)
        return error


class RateLimited(HubError):
    """Over the server's limit; `retry_after` is in seconds."""

    code = "rate-limited"
    status = 429

    def __init__(self, server: str, retry_after: float) -> None:
        self.server = server
        self.retry_after = retry_after
        super().__init__(f"The rate limit of server {server!r} is used up; try again in {retry_after:.1f} s.")


class RequestTimedOut(HubError):
    """A part of a request, its head or its body, that did not arrive within `seconds`."""

    code = "request-timed-out"
    status = 408

    def __init__(self, part: str, seconds: float, setting: str | None = None) -> None:
        time = f"{seconds:g} s" if setting is None else f"{seconds:g} s ({setting})"
        super().__init__(f"The {part} of the request did not arrive within {time}; send it again.")


class TooMany(HubError):
    """Over a bound that keeps one user from the share of others; `bound` is its setting."""

    code = "too-many"
    status = 429

    def __init__(self, bound: str, message: str, *, retry_after: float) -> None:
        self.bound = bound
        self.retry_after = retry_after
        super().__init__(f"{message} The bound is {bound}.")


class InvalidKey(HubError):
    """A vault key that is refused; the message never holds the key."""

    code = "invalid-key"


class CannotOpen(HubError):
    """Sealed bytes that no key of the ring opens."""

    code = "cannot-open"

    def __init__(self, what: str, key_id: str | None) -> None:
        self.key_id = key_id
        key = f"the key {key_id}" if key_id else "any key of the ring"
        super().__init__(f"The sealed value of {what} can't be opened with {key}.")


class UnboundValue(CannotOpen):
    """A value that is not bound, which a rotation should have bound: only one written since can be like that."""

    code = "unbound-value"

    def __init__(self, what: str) -> None:
        self.key_id = None
        super(CannotOpen, self).__init__(
            f"The sealed value of {what} is not bound to its row and its owner. Such values are not opened since "
            "the vault's key was rotated; if it belongs there, take it over with: nexus-hub vault rotate --to KEY_ID"
        )


class CannotMigrate(HubError):
    """The database's schema can't be brought up to date; what was not applied changed nothing."""

    code = "cannot-migrate"


class NotConfigured(HubError):
    """A setting is missing; `setting` names it."""

    code = "not-configured"

    def __init__(self, setting: str, why: str) -> None:
        self.setting = setting
        super().__init__(f"{setting} is not set: {why}.")


class UnsafeHome(HubError):
    """A data directory that others could change, or that can't be used."""

    code = "unsafe-home"


class StartFailed(HubError):
    """A part of the stack that did not come up; `tail` is the end of its log."""

    code = "start-failed"

    def __init__(self, part: str, why: str, log: object = None, tail: str = "") -> None:
        self.part = part
        self.tail = tail
        super().__init__(f"The part {part} did not come up: {why}." + (f" Its log is {log}" if log else ""))


class InvalidSetting(HubError):
    """A setting with a value that is not allowed; `problems` names each variable, without its value."""

    code = "invalid-setting"

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(f"The environment can't be used: {'; '.join(problems)}.")


class UpstreamError(HubError):
    """Something about an upstream MCP server; `server` is its name."""

    code = "upstream-error"
    status = 502

    def __init__(self, server: str, message: str) -> None:
        self.server = server
        super().__init__(message)


class UpstreamUnavailable(UpstreamError):
    """The call never reached the server, so that repeating it is safe; not before `retry_after` seconds, if any."""

    code = "upstream-unavailable"

    def __init__(self, server: str, message: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(server, message)


class LoginNeeded(UpstreamError):
    """Only a person can go on: the server wants a login that is not there, was refused, or lacks a scope.

    Nothing was sent to the server. `link` leads to the page of the hub at which the login begins; it `is_yours`, unless
    all who use the server share a login, which the operator alone can make.
    """

    code = "login-needed"
    status = 409

    def __init__(self, server: str, reason: str, link: str | None = None, *, is_yours: bool = True) -> None:
        self.reason = reason
        self.link = link
        self.is_yours = is_yours
        way = f"open {link}" if link else f"use Connect in the console, or nexus-hub server login {server}"
        whose, way = ("your", way) if is_yours else ("a", "ask who runs the hub to log in")
        super().__init__(server, f"The server {server!r} needs {whose} login: {reason}; {way}")


class LoginFailed(UpstreamError):
    """A login at the server's authorization server that came to nothing; `reason` is a sentence without secrets.

    It won't go better unless something changes: a fault of the network is UpstreamUnavailable.
    """

    code = "login-failed"
    status = 409

    def __init__(self, server: str, reason: str) -> None:
        self.reason = reason
        super().__init__(server, f"The login at the server {server!r} failed: {reason}")


class RefreshRefused(LoginFailed):
    """The authorization server gives no more tokens for a login: a person has to log in anew."""

    code = "refresh-refused"


class UpstreamRejected(UpstreamError):
    """The server answered with a JSON-RPC error, `rpc_code` is its number; or `by` a status that will not change.

    `rpc_data` is what a client needs of the error's data, where it can act on it. `challenge` is what a 401 or 403
    wants, as the server wrote it (empty: it does not say); None for everything else.
    """

    code = "upstream-rejected"

    def __init__(
        self,
        server: str,
        rpc_code: int,
        rpc_message: str,
        *,
        by: str | None = None,
        data: Any = None,
        challenge: str | None = None,
    ) -> None:
        self.challenge = challenge
        self.rpc_code = rpc_code
        self.rpc_message = rpc_message
        self.rpc_data = data
        by = by or f"JSON-RPC {rpc_code}"
        super().__init__(server, f"The server {server!r} refused the request ({by}): {rpc_message}")


class MalformedResult(UpstreamError):
    """The server's answer breaks the protocol at `place`, a sentence of ours; `answer` is it, if it is JSON."""

    code = "malformed-result"

    def __init__(self, server: str, place: str, answer: Any = None) -> None:
        self.place = place
        self.answer = answer
        super().__init__(
            server, f"The answer of {server!r} breaks the protocol ({place}); what was asked for may have been done."
        )


class OutcomeUnknown(UpstreamError):
    """The connection was lost after the call was sent, or the server failed: it may have had its effect.

    Who repeats it all the same waits `retry_after` seconds, if the server gave any; `reason` says how it failed.
    """

    code = "outcome-unknown"

    def __init__(self, server: str, retry_after: float | None = None, *, reason: str | None = None) -> None:
        self.retry_after = retry_after
        lost = f"The server {server!r} {reason}" if reason else f"The connection to {server!r} was lost during the call"
        super().__init__(server, f"{lost}; whether the call had its effect is unknown.")


class StoppedDuringCall(OutcomeUnknown):
    """The process of the hub that made the call was stopped before there was an answer."""

    def __init__(self, server: str) -> None:
        self.retry_after = None
        UpstreamError.__init__(
            self,
            server,
            f"The hub's process was stopped during the call of {server!r}; whether the call had its effect is unknown. "
            "Call again where that does no harm: other processes go on.",
        )


class UpstreamTimedOut(UpstreamError):
    """No answer in time; `seconds` is how long was waited. The call may have had its effect."""

    code = "upstream-timed-out"
    status = 504

    def __init__(self, server: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(server, f"The server {server!r} gave no answer within {seconds:g} s.")


class ExchangeFailed(HubError):
    """A host that somebody named gave no answer that can be used; `may_pass`: it may do so later."""

    code = "exchange-failed"
    status = 502

    def __init__(self, host: str, reason: str, *, may_pass: bool = False) -> None:
        self.host = host
        self.reason = reason
        self.may_pass = may_pass
        super().__init__(f"The exchange with the host {host} failed: {reason}.")


class CheckFailed(HubError):
    """Something that the doctor looks at is not as it should be; `advice` where the check's own does not fit."""

    code = "check-failed"

    def __init__(self, message: str, advice: str | None = None) -> None:
        self.advice = advice
        super().__init__(message)


class MaintenanceFailed(HubError):
    """A maintenance flow failed or was cancelled; `reason` is its code."""

    code = "maintenance-failed"

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class RunCancelled(HubError):
    """A maintenance run was cancelled, or its row ended elsewhere: the flow run stops."""

    code = "cancelled"


class InternalError(HubError):
    """Something that should not happen."""

    code = "internal-error"

    def __init__(self) -> None:
        super().__init__("An unexpected error ended this; it is a defect of the hub.")


class NotOneRow(InternalError):
    """A query that always gives exactly one row gave none, or several; `rows` is how many."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        super(InternalError, self).__init__(
            f"A query gave {rows} rows where it always gives one; it is a defect of the hub."
        )


class PrefectUnavailable(HubError):
    """Prefect's API does not answer; what was stored is started once it does."""

    code = "prefect-unavailable"
    status = 503


class NoDeployment(PrefectUnavailable):
    """Prefect does not know the deployment of a flow, until somebody deploys."""

    code = "no-deployment"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"Prefect knows no deployment {name}; run: nexus-hub deploy")


class PrefectRefused(PrefectUnavailable):
    """Prefect refuses one request and answers others."""

    code = "prefect-refused"


class DatabaseUnavailable(HubError):
    """PostgreSQL does not answer, or the connection was lost; nothing of the transaction is stored."""

    code = "database-unavailable"
    status = 503

    def __init__(self, why: str = "does not answer") -> None:
        super().__init__(f"The hub's database {why}; try again in a moment.")


class SchemaTooOld(HubError):
    """The database lacks migrations that this release needs; it is used as soon as they are applied."""

    code = "schema-too-old"
    status = 503

    def __init__(self, found: int, needed: int) -> None:
        super().__init__(
            f"The database's schema is at migration {found}, and this release needs {needed}: run nexus-hub migrate. "
            "This process goes on by itself then."
        )


class Draining(HubError):
    """The process that was asked is about to stop, and others go on."""

    code = "draining"
    status = 503

    def __init__(self, message: str = "This process of the hub is being stopped; others go on.") -> None:
        super().__init__(message)


class RequestCutOff(Draining):
    """A request that took longer than a process that was about to stop could wait."""

    def __init__(self) -> None:
        super().__init__(
            "This process of the hub was stopped before the request had been answered; it may have had its effect. "
            "Another process answers if you ask again."
        )


class IssuerUnavailable(HubError):
    """The keys of the issuer NEXUS_ISSUER can't be read, so that nobody knows if a token is good."""

    code = "issuer-unavailable"
    status = 503

    def __init__(self) -> None:
        super().__init__("The issuer's keys can't be read just now, so that no token of it is known; try again.")


class TookTooLong(HubError):
    """A statement that was ended since it took too long; nothing of its transaction is stored."""

    code = "took-too-long"
    status = 503

    def __init__(self, seconds: float) -> None:
        super().__init__(f"This took longer than {seconds:g} s and was ended; ask for less, or try again later.")


class ApiProblem(HubError):
    """The hub's API answered a client with a problem; `code` and `status` are the answer's."""

    def __init__(self, status: int, code: str, message: str, faults: Sequence[ConfigurationFault] = ()) -> None:
        self.status = status
        self.code = code
        self.faults = faults
        super().__init__(message)


class RequestRefused(ApiProblem):
    """The request itself can't be used: 400, 413 or 422."""


class HubUnavailable(ApiProblem):
    """No hub answers just now: 502, 503 or 504 from what stands before it, or no answer at all (`status` 0)."""
