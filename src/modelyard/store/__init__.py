"""What the platform remembers: resources, events and due work, in SQLite or PostgreSQL."""

from modelyard.store.database import Database
from modelyard.store.page import Page
from modelyard.store.transaction import Snapshot, Transaction

__all__ = ["Database", "Page", "Snapshot", "Transaction"]
