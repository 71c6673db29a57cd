"""The package's own server, with our tools and pictures behind it; it speaks both generations of the protocol."""

from importlib.metadata import version
from typing import Any

from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    ResourceTemplate,
    TextContent,
)
from mcp.types import Tool as Told
from redis.exceptions import RedisError

from app.callers import CALLER, Caller
from app.deps import Service, service_of
from app.faces.judged import judged
from app.faces.mcp.drawing import Asked
from app.faces.mcp.pictures import TEMPLATE, listed, read
from app.faces.mcp.tools import TOOLS, Tool
from app.http.faults import meant, quoted
from app.http.places import place_of
from app.middleware.body_cap import pictures_cap
from app.routes.events import admitted
from app.shared.errors import Forbidden, NotFound, RadiataError, Unavailable

AWAY = "Redis does not answer: try again in a moment"
ABOUT = (
    "Draws pictures from one base model with any set of LoRA and LyCORIS adapters. Look with list_adapters what there "
    "is, draw with draw; compare shows what adapters do."
)


def build(service: Service) -> StreamableHTTPSessionManager:
    """Return what answers MCP's requests, each as the caller whose key it shows; its `run` is to be entered once."""
    server: Server[Any] = Server(
        "radiata",
        version=version("radiata"),
        instructions=ABOUT,
        on_list_tools=_tools,
        on_call_tool=_called,
        on_list_resources=_resources,
        on_list_resource_templates=_templates,
        on_read_resource=_resource,
        get_tool_input_schema={}.get,  # no argument is sent as a header
    )
    server.middleware.clear()  # its spans would stand beside ours, and ours say no prompt
    return StreamableHTTPSessionManager(server, max_request_body_size=pictures_cap(service.settings.max_image_mb))


async def _tools(_: Any, _params: PaginatedRequestParams | None) -> ListToolsResult:
    return ListToolsResult(
        tools=[
            Told(name=name, description=one.about, input_schema=one.takes.model_json_schema(), annotations=one.hints)
            for name, one in TOOLS.items()
        ]
    )


async def _called(ctx: Any, params: CallToolRequestParams) -> CallToolResult:
    try:
        tool = TOOLS.get(params.name)
        if tool is None:
            message = f"there is no tool {quoted(params.name)}{meant(params.name, TOOLS)}"
            raise NotFound("tool_unknown", f"{message}; there are {', '.join(TOOLS)}")
        _admit(ctx.request.scope.get(CALLER), tool)
        asked = Asked(service_of(ctx.request), place_of(ctx.request), ctx.session.report_progress)
        arguments = judged(tool.takes, params.arguments or {})
        place = admitted(asked.service) if tool.scope == "draw" else None  # it follows events, as a stream of them does
        try:
            return await tool.run(asked, arguments)
        finally:
            if place:
                asked.service.streams.discard(place)
    except RedisError:
        return _refused(Unavailable("queue_unavailable", AWAY))
    except RadiataError as error:
        return _refused(error)


def _admit(caller: Caller | None, tool: Tool) -> None:
    if tool.scope and caller and tool.scope not in caller.scopes:
        raise Forbidden("scope_missing", f"this needs the scope {tool.scope}, and the key has not got it")


def _refused(error: RadiataError) -> CallToolResult:
    problem = {"code": error.code, "status": error.status, "detail": error.message, "errors": list(error.reasons)}
    return CallToolResult(content=[TextContent(text=error.message)], structured_content=problem, is_error=True)


async def _resources(ctx: Any, params: PaginatedRequestParams | None) -> ListResourcesResult:
    try:
        found, cursor = await listed(service_of(ctx.request), params.cursor if params else None)
    except RadiataError as error:
        raise MCPError(INVALID_PARAMS, error.message) from error
    return ListResourcesResult(resources=found, next_cursor=cursor)


async def _templates(_: Any, _params: PaginatedRequestParams | None) -> ListResourceTemplatesResult:
    told = ResourceTemplate(name="picture", uri_template=TEMPLATE, description="a picture that was drawn here")
    return ListResourceTemplatesResult(resource_templates=[told])


async def _resource(ctx: Any, params: ReadResourceRequestParams) -> ReadResourceResult:
    try:
        return ReadResourceResult(contents=[await read(service_of(ctx.request), str(params.uri))])
    except RadiataError as error:
        raise MCPError(INVALID_PARAMS, error.message) from error
