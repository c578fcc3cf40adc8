"""Pages from templates, and errors as pages for people or JSON for programs."""

from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from mesh_runtime.logs import get_logger

logger = get_logger(__name__)

_TEMPLATES: Final = Path(__file__).parent / "templates"
_FOR_PROGRAMS: Final = ("/notices/", "/healthz")
_TITLES: Final = {
    400: "This request cannot be read",
    403: "This form came from another site",
    404: "There is nothing here",
    405: "This cannot be done here",
    408: "This took too long",
    409: "This cannot be paid here",
    413: "This request is too large",
    415: "This request cannot be read",
    500: "Something went wrong",
    503: "Please try again",
}
_RETRY_SECONDS: Final = "1"


class Pages:
    """Renders templates. `base_path` is what comes before every path in the public address."""

    def __init__(self, *, base_path: str) -> None:
        self.base_path = base_path
        self._environment = Environment(
            loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, auto_reload=False
        )

    def render(self, template: str, *, status: int = 200, **values: object) -> HTMLResponse:
        """Returns a page; every value is escaped."""
        page = self._environment.get_template(template).render(base_path=self.base_path, **values)
        return HTMLResponse(page, status)

    def error(self, request: Request, status: int, message: str) -> Response:
        """Returns an error as the one who asks can read it."""
        if _wants_json(request):
            return JSONResponse({"error": message}, status)
        title = _TITLES.get(status, _TITLES[500])
        return self.render("message.html", status=status, title=title, message=message)

    async def http_error(self, request: Request, error: Exception) -> Response:
        """Answers with an HTTPException."""
        assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for nothing else
        response = self.error(request, error.status_code, error.detail)
        response.headers.update(error.headers or {})
        return response

    async def unavailable(self, request: Request, error: Exception) -> Response:
        """Answers what was not done, and can be tried again as it is."""
        logger.warning("http.unavailable", error=type(error).__name__)
        response = self.error(request, 503, "The broker cannot do this right now. Nothing has happened.")
        response.headers["retry-after"] = _RETRY_SECONDS
        return response

    async def bug(self, request: Request, _error: Exception) -> Response:
        """Answers a bug of ours, without a word of it."""
        return self.error(request, 500, "An error of ours. Please try again later.")


def _wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return request.url.path.startswith(_FOR_PROGRAMS) or (
        "application/json" in accepted and "text/html" not in accepted
    )
