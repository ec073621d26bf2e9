"""``trilith cache``: what is in the cache, and an empty one."""

from dataclasses import asdict

from .options import JsonOptions, command, new_app, option
from .output import Column, Table, print_facts, print_json

__all__ = ["app"]

app = new_app()


class _CacheOptions(JsonOptions):
    clear: bool = option(False, "Remove all entries, and nothing else from the folder.")


@command(app)
def cache(options: _CacheOptions) -> None:
    """Print the place of the cache, and its entries by kind with their size and age.

    The cache holds what can be made again: simulations, netlists, measurements, and the output of
    programs that failed. All folders of a user share it. It is trilith in the folder that
    XDG_CACHE_HOME names, or ~/.cache/trilith; TRILITH_BUILD names another folder. What you ask for,
    such as Verilog and bitstreams, is never in the cache. While another process of trilith uses the
    cache, it is not cleared.

    Examples:
      trilith cache

      trilith cache --clear
    """
    from ..sim.tools.cache import cache_folder, cache_kinds, clear_cache

    kinds = clear_cache() if options.clear else cache_kinds()
    size = sum(kind.size_bytes for kind in kinds)
    if options.as_json:
        print_json(
            {
                "folder": str(cache_folder()),
                "cleared": options.clear,
                "size_bytes": size,
                "kinds": [asdict(kind) for kind in kinds],
            }
        )
        return
    count = sum(kind.entries for kind in kinds)
    entries = f"{count} {'entry' if count == 1 else 'entries'}, {size / 1e6:.1f} MB"
    print_facts({"folder": cache_folder(), "removed" if options.clear else "holds": entries})
    if kinds:
        Table(
            Column("kind", "kind", 12, "<"),
            Column("entries", "entries"),
            Column("MB", lambda kind: kind.size_bytes / 1e6, 8, ".1f"),
            Column("oldest, days", lambda kind: kind.oldest_s / 86400, form=".1f"),
            Column("newest, days", lambda kind: kind.newest_s / 86400, form=".1f"),
        ).rows(kinds)
