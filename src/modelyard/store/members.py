"""Who is what in which project."""

from __future__ import annotations

import sqlalchemy as sa

from modelyard.domain.access import Member
from modelyard.store.documents import Document
from modelyard.store.tables import members
from modelyard.store.transaction import Snapshot, Transaction

_DOCUMENT = Document(Member)


async def list(tx: Snapshot, *, project: str = "", user: str = "") -> tuple[Member, ...]:
    """Members by project and user; of one project, one user, or all when both are empty."""
    rows = sa.select(members.c.document).order_by(members.c.project, members.c.user)
    if project:
        rows = rows.where(members.c.project == project)
    if user:
        rows = rows.where(members.c.user == user)
    return tuple(_DOCUMENT.load(row.document) for row in await tx.rows(rows))


async def put(tx: Transaction, member: Member) -> None:
    """Give the user this role in the project; raises Conflict when either does not exist."""
    document = _DOCUMENT.dump(member)
    statement = tx.insert(members).values(project=member.project, user=member.user, document=document)
    await tx.change(
        statement.on_conflict_do_update(
            index_elements=[members.c.project, members.c.user], set_={"document": document}
        )
    )


async def delete(tx: Transaction, project: str, user: str) -> bool:
    """End the membership, and say whether there was one."""
    here = (members.c.project == project, members.c.user == user)
    return await tx.change(sa.delete(members).where(*here)) > 0
