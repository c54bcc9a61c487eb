"""Files that a person gave the plugin to read: capability `data`, for components whose world imports it."""

try:
    from wit_world.imports import data as _host
except ImportError:
    _host = None


def files():
    """Lists the names of the files, sorted."""
    return [] if _host is None else _host.files()


def read(name):
    """Reads a whole file as bytes; raises `OSError` where it is not granted, or there is no such file."""
    if _host is None:
        raise OSError(f"{name}: this component's world does not import data")
    from componentize_py_types import Err

    try:
        return _host.read(name)
    except Err as error:
        raise OSError(error.value) from None
