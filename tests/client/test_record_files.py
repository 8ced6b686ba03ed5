"""The files that a recorder appends to: rotated, bounded, and whole whatever happens."""

import io
import subprocess
import sys

import pytest

pytest.importorskip("hypothesis", reason="hypothesis makes up the values")

from hypothesis import given, settings
from hypothesis import strategies as st

from client.recording.files import RecordFiles
from client.recording.logs import log_record, read_log
from client.recording.tfrecord import framed, read_records
from client.rpc.calls import CLASSIFY, PREDICT
from client.rpc.messages import ClassificationRequest, ClassificationResponse, PredictRequest, PredictResponse


def records(start, stop, size=100):
    return [framed(str(number).encode().rjust(size)) for number in range(start, stop)]


def numbers(file):
    with file.open("rb") as stream:
        return [int(payload) for payload in read_records(stream)]


def all_files(path):
    """The files, the oldest first."""
    rotated = sorted(path.parent.glob(f"{path.name}.*"), key=lambda file: -int(file.suffix[1:]))
    return [*rotated, *([path] if path.exists() else [])]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "traffic"


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 900), max_size=12), min_size=1, max_size=8),
    st.integers(4096, 20_000),
)
def test_files_stay_within_their_bytes_and_keep_the_newest_records_in_order(tmp_path_factory, batches, max_bytes):
    path = tmp_path_factory.mktemp("files") / "traffic"
    files, number = RecordFiles(path, max_bytes), 0
    for sizes in batches:
        batch = [framed(str(number + place).encode().rjust(size)) for place, size in enumerate(sizes)]
        assert files.append(batch) == (len(batch), None)
        number += len(batch)
        assert sum(file.stat().st_size for file in all_files(path)) <= max_bytes
    found = [one for file in all_files(path) for one in numbers(file)]
    assert found == list(range(number - len(found), number))
    total = sum(len(b"".join(framed(bytes(max(size, len(str(number))))))) for sizes in batches for size in sizes)
    if total <= max_bytes // 4:
        assert len(found) == number


def test_the_numbers_grow_with_age_and_the_oldest_go(path):
    files = RecordFiles(path, 4 * 10 * 116)
    files.append(records(0, 100))
    assert [file.name for file in all_files(path)] == ["traffic.3", "traffic.2", "traffic.1", "traffic"]
    assert [numbers(file)[0] for file in all_files(path)] == [60, 70, 80, 90]


def test_files_of_a_larger_limit_make_room(path):
    RecordFiles(path, 100_000).append(records(0, 400))
    assert RecordFiles(path, 10_000).append(records(400, 402)) == (2, None)
    assert sum(file.stat().st_size for file in all_files(path)) <= 10_000
    assert numbers(path) == [400, 401]


@pytest.mark.parametrize("cut", [1, 60, 105, 115])
def test_a_record_that_a_killed_process_left_unfinished_is_cut_off(path, cut):
    files = RecordFiles(path, 100_000)
    files.append(records(0, 3))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    for again in (files, RecordFiles(path, 100_000)):
        again.append(records(3, 4))
        assert numbers(path)[:3] == [0, 1, 3]


def test_another_file_with_the_number_of_one_that_is_gone_keeps_its_records(path):
    files = RecordFiles(path, 100_000)
    files.append(records(0, 3))
    for size, count in ((97, 3), (103, 3), (150, 1)):
        # The same file to the system, as after its number was given away again.
        path.write_bytes(b"".join(part for record in records(10, 10 + count, size) for part in record))
        assert files.append(records(20, 21)) == (1, None)
        assert numbers(path) == [*range(10, 10 + count), 20]


def test_a_damaged_file_is_moved_aside_as_it_is(path):
    RecordFiles(path, 100_000).append(records(0, 3))
    damaged = path.read_bytes() + bytes(50)
    path.write_bytes(damaged)
    assert RecordFiles(path, 100_000).append(records(3, 4)) == (1, None)
    assert numbers(path) == [3]
    assert path.with_name("traffic.1").read_bytes() == damaged


def test_a_folder_that_has_gone_is_an_error_and_not_an_exception(tmp_path):
    written, error = RecordFiles(tmp_path / "absent" / "traffic", 100_000).append(records(0, 3))
    assert written == 0
    assert isinstance(error, FileNotFoundError)


WRITE = """
import resource, sys
from pathlib import Path
from client.recording.files import RecordFiles
from client.recording.tfrecord import framed
path, max_bytes, name, largest = sys.argv[1:]
if largest != "any":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), int(largest)))
files = RecordFiles(Path(path), int(max_bytes))
for number in range(100):
    print(*files.append([framed((name + str(number).rjust(50, "0")).encode())] * 3))
"""


def writing(path, max_bytes, name, largest="any"):
    """A process that appends a hundred times three records, which the system lets no file of more bytes have."""
    command = [sys.executable, "-c", WRITE, str(path), str(max_bytes), name, largest]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("max_bytes", [24_000, 1_000_000])
def test_processes_may_share_a_path(path, max_bytes):
    processes = [writing(path, max_bytes, name) for name in "1234"]
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert set(output.splitlines()) == {"3 None"}
    kept = all_files(path)
    assert sum(file.stat().st_size for file in kept) <= max_bytes
    found = [one for file in kept for one in numbers(file)]
    assert len(found) == 1200 if max_bytes == 1_000_000 else 200 < len(found) < 400
    for name in "1234":
        own = [one for one in found if str(one).startswith(name)]
        assert own == sorted(own)
        assert all(own.count(one) == 3 for one in own[3:])


def test_a_file_that_the_system_lets_grow_no_further_stays_whole(path):
    output, _ = writing(path, 100_000, "1", largest="5000").communicate(timeout=60)
    lines = output.splitlines()
    assert lines[0] == "3 None"
    assert lines[-1] == "0 [Errno 27] File too large"
    assert len(numbers(path)) == sum(int(line.split()[0]) for line in lines) > 60


messages = st.tuples(st.text(max_size=9), st.integers(0, 2**63 - 1))


@settings(max_examples=100)
@given(st.sampled_from([PREDICT, CLASSIFY]), messages, st.one_of(st.none(), messages))
def test_logs_hold_the_requests_and_responses_that_they_were_made_of(method, asked, answered):
    request, response = {
        PREDICT: (PredictRequest, PredictResponse),
        CLASSIFY: (ClassificationRequest, ClassificationResponse),
    }[method]

    def serialized(message, values):
        message.model_spec.name, message.model_spec.version.value = values
        return message.SerializeToString()

    sent = serialized(request(), asked)
    received = b"" if answered is None else serialized(response(), answered)
    (payload,) = read_records(io.BytesIO(b"".join(log_record(method, sent, received))))
    recorded = read_log(payload)
    assert (recorded.method, recorded.request, recorded.response) == (method, sent, received)
