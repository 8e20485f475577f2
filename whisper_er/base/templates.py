"""Templates that lie beside the modules that fill them: pages (.html.j2) and Markdown (.md.j2)."""

from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(path: Path, /, *functions: Callable[..., object], **values: object) -> str:
    """The text of a template, which calls the functions by their names.

    In .html.j2 every value is escaped, unless it is markup (it has __html__).
    """
    environment = Environment(
        loader=FileSystemLoader(path.parent),
        autoescape=path.name.endswith(".html.j2"),
        undefined=StrictUndefined,  # a name that the module does not give is an error, not a gap in the page
        trim_blocks=True,  # a line that holds a tag alone leaves nothing
        keep_trailing_newline=True,
    )
    return environment.get_template(path.name).render({function.__name__: function for function in functions} | values)
