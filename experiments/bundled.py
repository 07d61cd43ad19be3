"""Where the sample data is: inside an installed wheel, or in `data/` of a checkout."""

from pathlib import Path

_FOLDERS = (Path(__file__).parent.parent / "data",)


def bundled_path(name: str) -> Path:
    """The path of a file that ships with Fairlead, such as `synthetic_support.parquet`."""
    for folder in _FOLDERS:
        if Path(name).name == name and (folder / name).is_file():
            return folder / name
    known = sorted({path.name for folder in _FOLDERS if folder.is_dir() for path in folder.iterdir()})
    raise FileNotFoundError(
        f"no file {name!r} ships with Fairlead, only {', '.join(known) or 'none'}: choose one of these, or "
        "install the package again if it ought to be there."
    )
