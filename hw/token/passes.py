"""Commands of the token core, and the passes that they make."""

from dataclasses import dataclass

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data

from .config import K_MAX, TokenConfig
from .tokens import of_token, token_number

__all__ = ["Pass", "collect_pass", "core_command"]


def core_command(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of the core.

    Fields
    ------
    token : the token
    position : its position; positions come in order, from 0 on
    k : logits to answer with, the largest first; 0 for none, at tokens of a prompt; ignored with
        ``more``
    more : the next command is of the same pass; without bits if T is 1
    """
    return data.StructLayout(
        {
            "token": range(config.vocabulary_max),
            "position": range(config.context_max),
            "k": range(K_MAX + 1),
            "more": range(min(config.tokens, 2)),
        }
    )


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Tokens that run through the program at once.

    Parameters
    ----------
    tokens : T tokens, of which the first ones count
    position : position of the first token
    k : logits to answer with, behind the last token
    others : tokens behind the first one
    faulty : positions do not follow one another, or there are more than T commands
    begun : some commands have come, and not the last one
    """

    tokens: list[Value]
    position: Value
    k: Value
    others: Value
    faulty: Value
    begun: Value

    def token(self, number: Value) -> Value:
        """The token with a number."""
        return of_token(self.tokens, number)

    def position_of(self, number: Value) -> Value:
        """Position of the token with a number."""
        return self.position + number if len(number) else self.position


def collect_pass(m: Module, config: TokenConfig, command: data.View, accepted: Value) -> Pass:
    """Keep the commands of a pass, up to the one without ``more``.

    Too many commands are taken too, up to the last one, so that the next pass begins behind them.

    Parameters
    ----------
    m : module that gets the registers
    config : configuration of the core
    command : the command that is offered
    accepted : it is accepted in this cycle
    """
    if config.tokens == 1:
        kept = Signal(core_command(config), name="command", reset_less=True)
        with m.If(accepted):
            m.d.sync += kept.eq(command)
        none = Const(0, 0)
        return Pass(
            tokens=[kept.token], position=kept.position, k=kept.k, others=none, faulty=none,
            begun=none,
        )  # fmt: skip
    tokens = [
        Signal.like(command.token, name=f"token{token}", reset_less=True)
        for token in range(config.tokens)
    ]
    position = Signal.like(command.position, reset_less=True)
    k = Signal.like(command.k, reset_less=True)
    others, faulty = Signal(token_number(config)), Signal()
    count = Signal(range(config.tokens + 1))
    full = count == config.tokens
    with m.If(accepted):
        m.d.sync += [k.eq(command.k), others.eq(count), faulty.eq(0)]
        m.d.sync += count.eq(Mux(command.more, Mux(full, count, count + 1), 0))
        for token, kept in enumerate(tokens):
            with m.If(count == token):
                m.d.sync += kept.eq(command.token)
        with m.If(count == 0):
            m.d.sync += position.eq(command.position)
        with m.Elif(faulty | full | (command.position != position + count)):
            m.d.sync += faulty.eq(1)
    return Pass(
        tokens=tokens, position=position, k=k, others=others, faulty=faulty, begun=count != 0
    )
