"""Radiata from Python: `Client(url, key).draw("a red apple", adapters={"style": 0.8}).save("apple.png")`."""

from radiata_client.asynchronous import AsyncClient
from radiata_client.client import Client, Drawn, Job
from radiata_client.errors import Canceled, Failed, RadiataError, Refused, Stranger, Unreachable

__all__ = [
    "AsyncClient",
    "Canceled",
    "Client",
    "Drawn",
    "Failed",
    "Job",
    "RadiataError",
    "Refused",
    "Stranger",
    "Unreachable",
]
