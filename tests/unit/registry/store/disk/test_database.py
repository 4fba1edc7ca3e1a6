import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from obol.errors import StoreUnusable
from obol.registry.store.disk.database import SCHEMA_VERSION, Database
from obol.registry.store.disk.pool import BlockingPool
from obol.registry.store.ports import StoreError

ADD = "INSERT INTO blobs VALUES (?, 1, 1.0, 1)"
COUNT = "SELECT count(*) FROM blobs"


def fill(connection: sqlite3.Connection) -> None:
    """What is known from elsewhere, for these tests."""
    connection.execute(ADD, ("from elsewhere",))


def add(name: str) -> Callable[[sqlite3.Connection], object]:
    """Add a row."""
    return lambda connection: connection.execute(ADD, (name,))


def count(connection: sqlite3.Connection) -> int:
    """The number of rows."""
    found: int = connection.execute(COUNT).fetchone()[0]
    return found


@pytest.fixture
def pool() -> Iterator[BlockingPool]:
    """The thread of the index."""
    made = BlockingPool("test", 1)
    yield made
    made.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the index is to be."""
    return tmp_path / "index.sqlite"


@pytest.fixture
def database(path: Path, pool: BlockingPool) -> Iterator[Database]:
    """A new index, opened."""
    made = Database(path, pool, fill, 0.05)
    pool.call(made.open)
    yield made
    pool.close()
    made.close()


def damaged(path: Path) -> set[str]:
    """Names of the indexes that were moved aside, without what belongs to them."""
    return {file.name for file in path.parent.glob("*.damaged-?")}


def scribble(path: Path, start: int) -> None:
    """Damage all of a file from a byte on."""
    data = path.read_bytes()
    path.write_bytes(data[:start] + b"\xa5" * (len(data) - start))


async def test_new(database: Database, path: Path) -> None:
    """A new index is filled from elsewhere, is for us alone, and writes ahead."""
    assert await database.read("count", count) == 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    mode = await database.read("mode", lambda connection: connection.execute("PRAGMA journal_mode").fetchone())
    assert mode == ("wal",)


async def test_reopened(database: Database, path: Path, pool: BlockingPool) -> None:
    """An index that is there is not filled again."""
    await database.write("add", add("x"))
    database.close()
    again = Database(path, pool, fill, 0.05)
    pool.call(again.open)

    assert await again.read("count", count) == 2
    again.close()


async def test_interrupted_fill(path: Path, pool: BlockingPool) -> None:
    """An index whose filling was interrupted is filled by the next process."""

    def fail(connection: sqlite3.Connection) -> None:
        fill(connection)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool.call(Database(path, pool, fail, 0.05).open)
    again = Database(path, pool, fill, 0.05)
    pool.call(again.open)

    assert await again.read("count", count) == 1
    again.close()


async def test_write_is_a_transaction(database: Database) -> None:
    """What a failing change did is undone."""

    def work(connection: sqlite3.Connection) -> None:
        add("x")(connection)
        raise OSError(28, "full")

    with pytest.raises(StoreError) as caught:
        await database.write("add", work)

    assert caught.value.full
    assert await database.read("count", count) == 1


async def test_wrong_statement(database: Database) -> None:
    """What SQLite refuses is a StoreError that says what was being done."""
    with pytest.raises(StoreError, match="add content: UNIQUE constraint failed"):
        await database.write("add content", add("from elsewhere"))


async def test_full(database: Database) -> None:
    """A full disk is told apart."""
    await database.read("limit", lambda connection: connection.execute("PRAGMA max_page_count = 1").fetchone())

    def work(connection: sqlite3.Connection) -> None:
        connection.executemany(ADD, ((str(number) * 100,) for number in range(1000)))

    with pytest.raises(StoreError) as caught:
        await database.write("add", work)

    assert caught.value.full
    assert await database.read("count", count) == 1


async def test_foreign_lock(database: Database, path: Path) -> None:
    """While a foreign process locks the index we read, a write waits for a while and fails, and later ones work."""
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")

    assert await database.read("count", count) == 1
    with pytest.raises(StoreError, match="locked") as caught:
        await database.write("add", add("x"))

    assert not caught.value.full
    foreign.close()
    await database.write("add", add("x"))


async def test_lookup(database: Database) -> None:
    """A row is looked up where it is wanted, and what was written before is found."""

    def where(connection: sqlite3.Connection) -> tuple[int, bool]:
        return count(connection), threading.current_thread() is threading.main_thread()

    assert await database.lookup("look", where) == (1, True)
    await database.write("add", add("x"))
    assert await database.lookup("look", where) == (2, True)

    database.close()
    assert await database.lookup("look", where) == (2, False)


async def test_lookup_changes_nothing(database: Database) -> None:
    """Whoever would write by it comes to the thread that writes."""
    await database.lookup("add", add("x"))

    assert await database.lookup("count", count) == 2


async def test_lookup_that_would_wait(database: Database) -> None:
    """A lookup that has to wait for a foreign process does so where nobody else waits for it."""
    here: list[bool] = []

    def look(connection: sqlite3.Connection) -> int:
        here.append(threading.current_thread() is threading.main_thread())
        if here[-1]:
            raise sqlite3.OperationalError("database is locked")
        return count(connection)

    assert await database.lookup("look", look) == 1
    assert here == [True, False]


@pytest.mark.parametrize("start", [0, 100, 4096])
async def test_damaged_at_start(database: Database, path: Path, pool: BlockingPool, start: int) -> None:
    """A damaged index is moved aside and filled anew."""
    await database.write("add", add("x"))
    database.close()
    scribble(path, start)
    again = Database(path, pool, fill, 0.05)
    pool.call(again.open)

    assert await again.read("count", count) == 1
    assert damaged(path) == {"index.sqlite.damaged-1"}
    again.close()


async def test_damaged_again(database: Database, path: Path, pool: BlockingPool) -> None:
    """Each damaged index is kept."""
    for _ in range(2):
        database.close()
        scribble(path, 0)
        pool.call(database.open)

    assert damaged(path) == {"index.sqlite.damaged-1", "index.sqlite.damaged-2"}


async def test_damaged_while_open(database: Database, path: Path) -> None:
    """Damage that is met while we run is mended, and what was to be done is done."""
    assert await database.lookup("count", count) == 1
    before = database.generation
    await database.read(
        "checkpoint", lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    )
    await database.read("forget pages", lambda connection: connection.execute("PRAGMA cache_size = 0").fetchone())
    scribble(path, 4096)

    await database.write("add", add("x"))

    assert await database.read("count", count) == 2
    assert await database.lookup("count", count) == 2
    assert database.generation == before + 1
    assert damaged(path) == {"index.sqlite.damaged-1"}


async def test_newer(database: Database, path: Path, pool: BlockingPool) -> None:
    """An index of a newer version is refused and left as it is."""
    version = SCHEMA_VERSION + 1
    await database.read("set", lambda connection: connection.execute(f"PRAGMA user_version = {version}").fetchone())
    database.close()

    with pytest.raises(StoreUnusable, match=f"version {version}"):
        pool.call(Database(path, pool, fill, 0.05).open)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (version,)
        assert count(connection) == 1


async def test_newer_at_runtime(database: Database, path: Path) -> None:
    """If the file cannot be opened again when it must be, that is a StoreError, not a crash."""
    version = SCHEMA_VERSION + 1
    await database.read("set", lambda connection: connection.execute(f"PRAGMA user_version = {version}").fetchone())
    database.close()

    with pytest.raises(StoreError, match="version"):
        await database.read("count", count)
    assert damaged(path) == set()


def test_link(path: Path, pool: BlockingPool) -> None:
    """A link in place of the index is not followed."""
    path.symlink_to(path.with_name("elsewhere"))

    with pytest.raises(OSError, match="symbolic"):
        pool.call(Database(path, pool, fill, 0.05).open)

    assert not path.with_name("elsewhere").exists()


async def test_used_bytes(database: Database, pool: BlockingPool) -> None:
    """Pages that were freed do not count as used."""

    def work(connection: sqlite3.Connection) -> None:
        connection.executemany(ADD, ((str(number) * 100,) for number in range(100)))

    before = pool.call(database.used_bytes)
    await database.write("add", work)
    full = pool.call(database.used_bytes)
    await database.write("remove", lambda connection: connection.execute("DELETE FROM blobs"))

    assert before < full
    assert pool.call(database.used_bytes) <= before
