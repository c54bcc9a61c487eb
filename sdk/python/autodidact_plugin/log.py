"""Lines for the daemon's log: capability `log`, for components whose world imports it."""

try:
    from wit_world.imports import log as _host
except ImportError:
    _host = None


def log(level, message):
    """Writes a line; the level is `debug`, `info`, `warn` or `error`. Outside of such a component it is printed."""
    if _host is None:
        print(f"{level}: {message}")
    else:
        _host.log(_host.Level[level.upper()], message)
