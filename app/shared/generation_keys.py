"""Where what belongs to a generation is stored: the table is at the top of `app/shared/storage.py`."""

from app.shared.wire.generation import OutputFormat


def pending_key(generation_id: str) -> str:
    """Where an accepted generation is kept until it ends."""
    return f"pending/{generation_id}.json"


def folder_of(generation_id: str) -> str:
    """Below which its end and its pictures are kept."""
    return f"generations/{generation_id}"


def manifest_key(generation_id: str) -> str:
    """Where the end of a generation is kept."""
    return f"{folder_of(generation_id)}/manifest.json"


def image_key(generation_id: str, index: int, output_format: OutputFormat = "png") -> str:
    """Where a picture of a generation is kept."""
    return f"{folder_of(generation_id)}/{index}.{output_format}"
