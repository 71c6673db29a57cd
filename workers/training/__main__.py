"""`python -m workers.training run` trains with no service."""

import typer

from workers.training.command import train

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
app.command("run")(train)


@app.callback()
def program() -> None:
    """Training for Radiata."""


@app.command(hidden=True)
def serve(queue: str, job_id: str, execution_id: str, worker_name: str) -> None:
    """The process of one training; its worker starts it, nobody by hand."""
    from app.shared.log import configure
    from app.shared.settings import serving_settings
    from workers.training import service

    settings = serving_settings()
    configure(settings.log_level, settings.log_prompts)
    service.serve(queue, job_id, execution_id, worker_name, settings)


if __name__ == "__main__":
    app()
