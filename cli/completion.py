"""``trilith completion``: the script with which a shell completes command lines."""

from enum import StrEnum

from .options import Options, argument, command, new_app

__all__ = ["app"]

app = new_app()

_Shell = StrEnum("_Shell", ["BASH", "ZSH", "FISH"])


class _CompletionOptions(Options):
    shell: _Shell = argument(..., "Shell that runs the script.")


@command(app)
def completion(options: _CompletionOptions) -> None:
    """Print a script with which a shell completes commands, options and their values.

    The script is for the startup file of the shell. It asks 'trilith' for each completion.

    Examples:
      echo 'source <(trilith completion bash)' >> ~/.bashrc

      echo 'source <(trilith completion zsh)' >> ~/.zshrc

      trilith completion fish > ~/.config/fish/completions/trilith.fish
    """
    from .main import COMPLETE
    from .verbs import complete

    complete({}, COMPLETE, f"source_{options.shell}")
