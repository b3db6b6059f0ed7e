"""Files that are made to take memory, disk or time from everybody else."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elt_assets.connectors.files import csv_layout
from elt_assets.connectors.limits import FileLimits
from elt_assets.errors import PageUnreadable
from elt_assets_tests.connectors.files.conftest import OpenFiles, drop, read, records

pytestmark = pytest.mark.slow

MIB = 2**20


def refusal(source: Any) -> str:
    with pytest.raises(PageUnreadable) as refused:
        list(source.pages(None))
    return str(refused.value)


def peak_of_reading(folder: Path) -> tuple[int, str]:
    """Memory in MiB that a process needs more for reading the folder, and how it ended."""
    script = """
        import resource, sys
        from pathlib import Path
        from elt_assets.connectors import catalog
        from elt_assets.connectors.limits import FetchLimits
        from elt_assets.connectors.own_places import OwnPlaces
        from elt_assets.errors import EltAssetsError
        from elt_assets.config.secret_refs import Secrets
        import pyarrow.parquet, pyarrow.compute

        limits = FetchLimits(
            1, 0, 10, 1 << 26, 1000, own=OwnPlaces(Path("/nowhere"))
        )
        stream = {"path": "users.*", "fields": {"external_id": "id"}}
        data = {"directory": sys.argv[1], "settle_seconds": 0, "streams": {"users": stream}}
        source = catalog.open_source(
            "files",
            data,
            "users",
            secrets=Secrets(),
            limits=limits,
        )
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            end = sum(page.count for page in source.pages(None))
        except EltAssetsError as error:
            end = error
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
        print(end)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    peak, _, end = ran.stdout.strip().partition("\n")
    return int(peak), end


def one_value_for_every_row(rows: int, size: int) -> pa.Table:
    values = pa.array(["x" * size])
    return pa.table(
        {"id": pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), values)}
    )


def lists_of_nothing(rows: int, size: int) -> pa.Table:
    nulls = pa.nulls(rows * size, pa.int8())
    offsets = pa.array(range(0, rows * size + 1, size), pa.int32())
    return pa.table({"id": pa.array(range(rows)), "l": pa.ListArray.from_arrays(offsets, nulls)})


def understated(content: bytes, size: int) -> bytes:
    """A Parquet file whose footer says another size of a column than `size`: one byte."""

    def varint(value: int, length: int) -> bytes:
        value <<= 1
        pieces = [value >> 7 * at & 0x7F | 0x80 for at in range(length)]
        pieces[-1] &= 0x7F
        return bytes(pieces)

    length = next(n for n in range(1, 10) if size << 1 < 1 << 7 * n)
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    assert varint(size, length) in content[footer:]
    return content[:footer] + content[footer:].replace(varint(size, length), varint(1, length))


def test_a_kilobyte_of_parquet_takes_no_gigabytes(folder: Path) -> None:
    pq.write_table(
        one_value_for_every_row(2_000, MIB), folder / "users.parquet", compression="zstd"
    )
    assert (folder / "users.parquet").stat().st_size < 2_000
    peak, end = peak_of_reading(folder)
    assert end == "2000"
    assert peak < 150


def test_text_in_dictionaries_inside_lists_is_written_out_in_parts(
    folder: Path, users: OpenFiles
) -> None:
    text = one_value_for_every_row(64, MIB)["id"].combine_chunks()
    offsets = pa.array(range(0, 65, 2), pa.int32())
    table = pa.table({"id": pa.array(range(32)), "names": pa.ListArray.from_arrays(offsets, text)})
    pq.write_table(table, folder / "users.parquet", compression="zstd")
    pages = list(users().pages(None))
    assert max(len(page.body) for page in pages) < 16 * MIB
    found = records(pages)
    assert [record["id"] for record in found] == list(range(32))
    assert all([len(name) for name in record["names"]] == [MIB, MIB] for record in found)


def test_a_row_larger_than_a_page_is_refused(folder: Path, users: OpenFiles) -> None:
    pq.write_table(one_value_for_every_row(3, 2 * MIB), folder / "users.parquet")
    said = refusal(users(page_bytes=MIB))
    assert "users.parquet has a row of 2,097,2" in said
    assert "the limit is 1,048,576 (ELT_ASSETS_PAGE_BYTES)" in said


def test_a_row_group_is_judged_by_its_footer(folder: Path, users: OpenFiles) -> None:
    table = pa.table({"id": [f"{number:0100}" for number in range(1_000)]})
    pq.write_table(table, folder / "users.parquet", use_dictionary=False, compression="zstd")
    said = refusal(users(limits=FileLimits(group_bytes=100_000)))
    assert "users.parquet: row group 1 has 104," in said
    assert "the limit is 100,000 (ELT_ASSETS_PARQUET_GROUP_BYTES)" in said
    assert len(read(users(limits=FileLimits(group_bytes=110_000)))) == 1_000


def test_a_footer_that_understates_is_caught_by_the_pages(folder: Path, users: OpenFiles) -> None:
    written = io.BytesIO()
    table = pa.table({"id": ["x" * MIB]})
    pq.write_table(table, written, use_dictionary=False, compression="zstd", write_statistics=False)
    content = written.getvalue()
    size = pq.read_metadata(written).row_group(0).column(0).total_uncompressed_size
    drop(folder, "users.parquet", understated(content, size))
    metadata = pq.read_metadata(folder / "users.parquet")
    assert metadata.row_group(0).column(0).total_uncompressed_size == 1
    assert "row group 1 has 1,048,5" in refusal(users(limits=FileLimits(group_bytes=MIB)))
    assert "(ELT_ASSETS_PARQUET_OPEN_BYTES)" in refusal(users(limits=FileLimits(open_bytes=MIB)))


def test_a_list_without_end_in_one_row_is_refused(folder: Path) -> None:
    pq.write_table(lists_of_nothing(1, 20_000_000), folder / "users.parquet", compression="zstd")
    assert (folder / "users.parquet").stat().st_size < 4_000
    peak, end = peak_of_reading(folder)
    assert "take 320," in end
    assert "(ELT_ASSETS_PARQUET_OPEN_BYTES)" in end
    assert peak < 60


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_encodings_without_a_known_size_are_refused(
    folder: Path, users: OpenFiles, encoding: str
) -> None:
    table = pa.table({"id": ["a" * 1_000] * 100})
    pq.write_table(
        table, folder / "users.parquet", use_dictionary=False, column_encoding={"id": encoding}
    )
    assert f"column 'id' encoded as {encoding}" in refusal(users())


def test_columns_are_counted(folder: Path, users: OpenFiles) -> None:
    pq.write_table(pa.table({f"c{n}": [1] for n in range(2_001)}), folder / "users.parquet")
    said = refusal(users())
    assert said == "users.parquet has 2,001 columns; the limit is 2,000 (ELT_ASSETS_FILE_COLUMNS)"
    drop(folder, "users.csv", ",".join(f"c{n}" for n in range(100_000)) + "\n")
    assert "users.csv has 100,000 columns; the limit is 2,000" in refusal(users("users.csv"))


def test_nesting_is_counted(folder: Path, users: OpenFiles) -> None:
    kind = pa.int8()
    for _ in range(40):
        kind = pa.list_(kind)
    pq.write_table(pa.table({"id": ["a"], "l": pa.nulls(1, kind)}), folder / "users.parquet")
    said = refusal(users())
    assert said.startswith("users.parquet has columns nested 81 deep; the limit is 64")
    assert "ELT_ASSETS_FILE_DEPTH" in said
    assert len(read(users(limits=FileLimits(depth=81)))) == 1


@pytest.mark.parametrize("at", range(4, 400, 7))
def test_a_damaged_parquet_file_is_an_error_of_ours(
    folder: Path, users: OpenFiles, at: int
) -> None:
    written = io.BytesIO()
    pq.write_table(pa.table({"id": ["a", "b"], "tags": [["x"], ["y", "z"]]}), written)
    content = bytearray(written.getvalue())
    content[-at] ^= 0x5A
    drop(folder, "users.parquet", bytes(content))
    with suppress(PageUnreadable):
        assert sum(page.count for page in users().pages(None)) == 2


def test_gzip_that_becomes_far_too_large_is_refused(folder: Path) -> None:
    with gzip.open(folder / "users.json.gz", "wb") as file:
        file.write(b'[{"id": "')
        for _ in range(300):
            file.write(b"a" * MIB)
        file.write(b'"}]')
    assert (folder / "users.json.gz").stat().st_size < MIB
    peak, end = peak_of_reading(folder)
    assert "users.json.gz becomes more than 100 times as large" in end
    assert "ELT_ASSETS_FILE_EXPANSION" in end
    assert peak < 100


def test_decompressed_bytes_are_bounded(folder: Path, users: OpenFiles) -> None:
    content = "id\n" + "\n".join(map(str, range(2_000)))
    limits = FileLimits(bytes=4_000)
    drop(folder, "users.csv", content)
    assert "the limit is 4,000 (ELT_ASSETS_FILE_BYTES)" in refusal(users(limits=limits))
    drop(folder, "users.csv", gzip.compress(content.encode()))
    assert "the limit is 4,000 (ELT_ASSETS_FILE_BYTES)" in refusal(users(limits=limits))
    assert len(read(users(limits=FileLimits(bytes=10_000)))) == 2_000


def test_a_compressed_document_takes_no_more_disk_than_allowed(
    folder: Path, users: OpenFiles
) -> None:
    document = json.dumps([{"id": str(number)} for number in range(1_000)])
    drop(folder, "users.json", gzip.compress(document.encode()))
    said = refusal(users(limits=FileLimits(spill_bytes=len(document) - 1)))
    assert "ELT_ASSETS_FILE_SPILL_BYTES" in said
    assert len(read(users(limits=FileLimits(spill_bytes=len(document))))) == 1_000


def test_a_record_larger_than_a_page_is_refused(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users.json", json.dumps([{"id": "a"}, {"id": "b" * MIB}]))
    said = refusal(users(page_bytes=MIB))
    assert "users.json: record 2 has 1,048,586 bytes; the limit is 1,048,576" in said


def test_short_rows_of_long_columns_make_small_pages(folder: Path, users: OpenFiles) -> None:
    names = ",".join(["id", *(f"{n}-" + "n" * 200 for n in range(1_000))])
    drop(folder, "users.csv", names + "\n" + f"1{',' * 1_000}\n" * 200)
    pages = list(users().pages(None))
    assert max(len(page.body) for page in pages) < 16 * MIB
    assert len(records(pages)) == 200


def test_a_quote_that_is_never_closed_ends_the_reading(
    folder: Path, users: OpenFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_layout, "LONGEST_ROW", 10_000)
    drop(folder, "users.csv", "id,name\n1,a\n" + '"\n",' * 10_000 + "\n")
    assert "users.csv: the row that ends at line" in refusal(users())
    drop(folder, "users.csv", '"\n",' * 10_000 + "\n")
    assert "users.csv: the row that ends at line" in refusal(users())
