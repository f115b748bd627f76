"""One command a file: `app` is its Typer application. `cli.listing` lists them all."""
