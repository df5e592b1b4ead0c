"""How a resource becomes a JSON document and comes back as the same resource."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Generic, NoReturn, TypeVar

import pydantic
import pydantic_core
import sqlalchemy as sa

from modelyard.domain.errors import Conflict, FieldError, Invalid, ModelyardError, NotFound
from modelyard.store.transaction import Snapshot, Transaction

T = TypeVar("T")


class Document(Generic[T]):
    """The stored form of one domain type."""

    def __init__(self, of: type[T], *, without: Collection[str] = ()) -> None:
        """`without` names fields that have a column of their own."""
        self._name = of.__name__
        self._without = set(without)
        self._adapter = pydantic.TypeAdapter(of)

    def dump(self, value: T) -> str:
        """The document of `value`; raises Invalid for what could not be read back."""
        try:
            plain = self._adapter.dump_python(value, exclude=self._without, warnings="error")
            text = pydantic_core.to_json(plain, inf_nan_mode="constants").decode()
            self._adapter.validate_json(text)
        except pydantic.ValidationError as error:
            raise _invalid(error) from error
        except pydantic_core.PydanticSerializationError as error:
            raise Invalid(f"{self._name} cannot be stored: {error}") from error
        return text

    def load(self, text: str) -> T:
        """The value of a stored document; fields of a newer version are passed over."""
        try:
            return self._adapter.validate_json(text, extra="ignore")
        except (pydantic.ValidationError, Invalid) as error:
            raise ModelyardError(
                f"a stored {self._name} cannot be read by this version; restore it from a backup, or start "
                "the version that wrote it"
            ) from error


def missing(what: str) -> NotFound:
    """The error for changing what is not there."""
    return NotFound(f"{what} does not exist; it may have been deleted meanwhile")


async def insert(tx: Transaction, table: sa.Table, values: dict[str, Any], *, what: str) -> None:
    """Add one row; raises Conflict when there is one of that name."""
    statement = tx.insert(table).values(values).on_conflict_do_nothing()
    if not await tx.change(statement):
        raise Conflict(f"{what} exists already; choose another name, or change the existing one")


async def compare_and_set(
    tx: Transaction,
    table: sa.Table,
    where: dict[str, str],
    values: dict[str, Any],
    *,
    expected: int,
    what: str,
) -> sa.Row[Any]:
    """Change the row that `where` identifies if its generation is still the expected one; answer it.

    `values` has no generation: the stored one becomes expected + 1. Raises NotFound, or Conflict with the
    generation that is there.
    """
    here = sa.and_(*(table.c[column] == value for column, value in where.items()))
    row = await tx.row(
        sa.update(table)
        .where(here, table.c.generation == expected)
        .values(**values, generation=expected + 1)
        .returning(table)
    )
    if row is None:
        await _lost(tx, table, here, what=what)
    return row


async def _lost(tx: Snapshot, table: sa.Table, here: sa.ColumnElement[bool], *, what: str) -> NoReturn:
    row = await tx.row(sa.select(table.c.generation).where(here))
    if row is None:
        raise missing(what)
    raise Conflict(
        f"{what} was changed by somebody else meanwhile; read it again and repeat your change",
        generation=row.generation,
    )


def _invalid(error: pydantic.ValidationError) -> Invalid:
    errors = [
        FieldError(".".join(str(part) for part in found["loc"]), found["msg"])
        for found in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return Invalid("; ".join(f"{e.path}: {e.message}" for e in errors), errors=errors)
