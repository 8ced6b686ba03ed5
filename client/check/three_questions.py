"""Is the served model the exported one? Three separate questions, so that noise in one cannot hide a fault in another.

identity: who are you? `export_info` and the signatures are compared with export.json.
backbone: are the dense answers (k = N) the ones expected, within a tolerance that fits the hardware?
head: are the answers for other k the top k of the server's *own* dense answers, almost exactly, on every signature?
"""

import re
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from client.check.forms import Form, NotAsked, forms
from client.check.identity import identity_differences
from client.check.requests import Batch, ask, batches, outputs_of
from client.check.results import CheckResult, SampleEvidence, Tally, Timing, by_signature
from client.errors import ClientError, DecodeError, InputError, UnreachableError
from client.rpc.calls import Call, identity_call, metadata_call
from client.rpc.metadata import ExportInfo, Metadata, Signature, Target
from client.rpc.sequences import BATCHING_REFUSAL, CallSequence
from client.samples.golden import Expectation, ExpectedIdentity
from client.samples.image_samples import with_file
from signatures.contract import names
from signatures.contract.answers import AnswerForm, Labels, Outputs, Scores, encoded, form_of
from signatures.contract.judge import judge_dense
from signatures.contract.questions import Question, questions
from signatures.contract.tolerances import CPU, Tolerances, for_precision

# Large enough to notice mixed-up rows, small enough for any server.
BATCH = 8


@dataclass
class Session:
    """The state of a running check: what the server is compared with, and what was found.

    batching: whether the server merges requests itself. most: the most examples in one request.
    """

    target: Target
    expectation: Expectation
    tolerances: Tolerances
    metadata: Metadata
    labels: tuple[str, ...] = ()
    encoded_labels: Labels = field(default_factory=lambda: encoded(()))
    default_k: int = 0
    batching: bool = False
    most: int = BATCH
    lost: bool = False
    identity: Tally = field(default_factory=lambda: Tally("identity"))
    backbone: Tally = field(default_factory=lambda: Tally("backbone"))
    head: Tally = field(default_factory=lambda: Tally("head"))
    not_asked: list[NotAsked] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    evidence: list[SampleEvidence] = field(default_factory=list)


def check(
    address: str, target: Target, expectation: Expectation, tolerances: Tolerances = CPU
) -> CallSequence[CheckResult]:
    """Ask a server the three questions.

    The first call may raise, for example if there is no server. After that, every error is a fault of the current
    question. Raises InputError if there are no samples.
    """
    if not expectation.samples:
        raise InputError("there are no samples to check with: pass golden records or images")
    metadata: Metadata = yield metadata_call(target)
    if expectation.export is not None:
        tolerances = for_precision(tolerances, expectation.export.precision)
    session = Session(target, expectation, tolerances, metadata)
    if target.version not in (None, metadata.version):
        session.identity.fault(f"version {metadata.version} answers for version {target.version}")
    served = yield from _ask_identity(session)
    known = expectation.export or served
    if known is not None and known.preprocessing is not None:
        files = partial(with_file, preprocessing=known.preprocessing)
        session.expectation = replace(expectation, samples=tuple(map(files, expectation.samples)))
    session.evidence = [SampleEvidence(sample) for sample in session.expectation.samples]
    export = expectation.export or (None if served is None else ExpectedIdentity(served.labels, k=served.k))
    if export is None:
        session.head.asked += 1
        session.head.fault("the labels and the default k are not known, as the identity is not")
        unknown = metadata.signatures.keys() - {names.EXPORT_INFO}
        session.not_asked = [NotAsked(signature=key, reason="the labels are not known") for key in sorted(unknown)]
    else:
        session.labels, session.encoded_labels = export.labels, encoded(export.labels)
        session.default_k = export.k if export.k is not None else served.k if served else 0
        yield from _ask_signatures(session, _classifies_files(metadata, expectation.export, served))
    yield from _ask_identity(session)
    return _result(address, session)


def _classifies_files(metadata: Metadata, export: ExpectedIdentity | None, served: ExportInfo | None) -> bool:
    """Return whether `classify` takes image files. It does if the model's preprocessing is known."""
    encoded = {names.ENCODED_IMAGES, names.ENCODED_IMAGES_TOP_K} & set(metadata.signatures)
    return bool(encoded) or any(known is not None and known.preprocessing is not None for known in (export, served))


def _ask_signatures(session: Session, classifies_files: bool) -> CallSequence[None]:
    samples = session.expectation.samples
    found, session.not_asked = forms(session.metadata, samples, session.labels, classifies_files)
    if all(form.files for form in found):
        session.backbone.asked += 1
        session.backbone.fault(f"no signature {names.SERVING_DEFAULT} takes {', '.join(samples[0].inputs)}")
    for form in found:
        for size in sorted({session.most, 1}, reverse=True):
            for number, batch in enumerate(batches(samples, form.numbers, size)):
                # Ask every form of k once. It makes no difference which samples are sent with it.
                yield from _ask_form(session, form, batch, thorough=size == session.most and not number)


def _result(address: str, session: Session) -> CheckResult:
    samples = session.expectation.samples
    known = sum(sample.dense is not None for sample in samples)
    tallies = (session.identity, session.backbone, session.head)
    identity, backbone, head = (
        session.identity.result(0),
        session.backbone.result(known),
        session.head.result(len(samples)),
    )
    return CheckResult(
        passed=identity.passed is True and backbone.passed is not False and head.passed is True,
        address=address,
        model=session.target.model,
        version=session.metadata.version,
        source=session.expectation.source,
        tolerances=session.tolerances,
        batching=session.batching,
        not_asked=tuple(session.not_asked),
        identity=identity,
        backbone=backbone,
        head=head,
        signatures=by_signature(tallies, session.timings),
        labels=session.labels,
        evidence=tuple(session.evidence),
        differences=tuple(row.verdict.difference for row in session.backbone.rows),
    )


def _ask_identity(session: Session) -> CallSequence[ExportInfo | None]:
    tally, where = session.identity, {"signature": names.EXPORT_INFO}
    tally.asked += 1

    def call() -> Call[Any]:
        return identity_call(session.target, session.most)

    answer = yield from _answer(session, tally, where, call(), call)
    if answer is None:
        return None
    try:
        served = ExportInfo.from_outputs(answer[0])
    except DecodeError as error:
        tally.fault(str(error), **where)
        return None
    if any(array.shape != (session.most,) for array in answer[0].values()):
        tally.fault("the identity did not come once for each probe", **where)
    tally.answered += 1
    for difference in identity_differences(session.expectation, session.target, served, session.metadata):
        tally.fault(difference)
    return served


def _ask_form(session: Session, form: Form, batch: Batch, thorough: bool) -> CallSequence[None]:
    dense = yield from _ask_backbone(session, form, batch)
    for signature in form.signatures:
        for question in questions(
            takes_k=names.K in signature.inputs or signature.key == names.CLASSIFY,
            default_k=session.default_k,
            labels=len(session.labels),
            examples=len(batch),
            thorough=thorough,
        ):
            yield from _ask_head(session, form, signature, batch, question, dense)


def _ask_backbone(session: Session, form: Form, batch: Batch) -> CallSequence[Scores | None]:
    """Return the server's dense answers, [B, N], or None if there are none to compare the head with."""
    tally, classes = session.backbone, len(session.labels)
    where = {"signature": form.dense.key, "k": f"{classes} (all)"}
    samples = [session.expectation.samples[number] for number in batch.numbers]
    files = form.files and not form.borrowed
    known = not form.own
    expected = [sample.dense if known and (sample.exact or not files) else None for sample in samples]
    tally.asked += sum(dense is not None for dense in expected)
    call = ask(session.target, form.dense, files, batch, np.full(len(batch), classes, np.int32))
    answer = yield from _answer(session, tally, where, call)
    if answer is None:
        return None
    served, problem = _dense_scores(session, form.dense, answer[0], len(batch))
    if problem:
        tally.fault(problem, record=batch.numbers[0], **where)
        return None
    k = min(max(session.default_k, 0), classes)
    for row, (number, dense) in enumerate(zip(batch.numbers, expected, strict=True)):
        if known and not form.files:
            session.evidence[number].served = served[row]
        if dense is None:
            continue
        if dense.shape != (classes,):
            tally.fault(f"{len(dense)} scores are expected, for {classes} labels", record=number, **where)
        else:
            tally.judged(number, judge_dense(dense, served[row], session.tolerances.backbone, k), **where)
    return served


def _dense_scores(session: Session, signature: Signature, outputs: Outputs, rows: int) -> tuple[Scores, str]:
    """Return the scores, [rows, N], of an answer with k = N, and what is wrong with it or ""."""
    form, classes = _answer_form(signature), len(session.labels)
    if problem := form.problem(outputs, rows, classes, classes):
        return np.zeros((rows, classes), np.float32), problem
    return form.dense(outputs, session.encoded_labels)


def _ask_head(
    session: Session, form: Form, signature: Signature, batch: Batch, question: Question, dense: Scores | None
) -> CallSequence[None]:
    tally = session.head
    where = {"signature": signature.key, "k": question.name}
    tally.asked += len(batch)
    if dense is None:
        return tally.fault("there is no dense answer to compare with", record=batch.numbers[0], **where)
    call = ask(session.target, signature, form.files, batch, question.sent)
    instead = partial(ask, session.target, signature, form.files, batch, question.per_example)
    answer = yield from _answer(session, tally, where, call, instead)
    if answer is None:
        return None
    outputs, judged, classes = answer[0], _answer_form(signature), len(session.labels)
    widest = max(question.meant)
    if problem := judged.problem(outputs, len(batch), classes, widest, padded=session.batching):
        return tally.fault(problem, record=batch.numbers[0], **where)
    # The server's own pixels and the pixels that were sent belong to different runs.
    tolerance = session.tolerances.backbone if form.borrowed else session.tolerances.head
    for row, (number, k) in enumerate(zip(batch.numbers, question.meant, strict=True)):
        one = {name: array[row] for name, array in outputs.items()}
        tally.judged(number, judged.judge(one, dense[row], k, session.encoded_labels, tolerance), **where)
        if question.sent is None and not form.files and signature.key == names.SERVING_DEFAULT:
            session.evidence[number].kept = tuple(index for index in judged.kept(one, k) if 0 <= index < classes)
    return None


def _answer_form(signature: Signature) -> AnswerForm:
    form = form_of(signature.outputs)
    if form is None:  # `client.check.forms` leaves these out.
        raise ValueError(f"signature {signature.key} answers in a form that is not known")
    return form


def _answer(
    session: Session,
    tally: Tally,
    where: Mapping[str, Any],
    call: Call[Any],
    instead: Callable[[], Call[Any]] | None = None,
) -> Generator[Any, Any, tuple[Outputs, int | None] | None]:
    """Return outputs and version. If there are none, or if another version answered, note the fault and return None.

    instead: the call to send if the server's own batching refuses the form of k, or so many examples.
    """
    if session.lost:
        tally.fault("not asked, as the server was lost", **where)
        return None
    start = time.perf_counter()
    again = None
    try:
        outputs, version = outputs_of((yield call))
    except ClientError as error:
        again = instead if _refused_by_batching(session, str(error)) else None
        if again is None:
            session.lost = isinstance(error, UnreachableError)
            tally.fault(str(error), **where)
            return None
    finally:
        session.timings.append(Timing(where["signature"], time.perf_counter() - start))
    if again is not None:
        return (yield from _answer(session, tally, where, again()))
    if version is not None and version != session.metadata.version:
        tally.fault(f"version {version} answered, version {session.metadata.version} before", **where)
        return None
    return outputs, version


def _refused_by_batching(session: Session, message: str) -> bool:
    """Return whether it was the server's own batching that refused a call, and note what it takes."""
    limit = re.search(r"is larger than maximum input batch size (\d+)", message)
    if limit:
        session.most = int(limit[1])
    session.batching |= BATCHING_REFUSAL in message
    return bool(limit) or BATCHING_REFUSAL in message
