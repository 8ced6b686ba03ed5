"""Is the served model the exported one? Three separate questions, so that noise in one cannot hide a fault in another.

identity: which export is it? `export_info` and the signatures are compared with export.json.
backbone: are the dense answers (k = N) the ones expected, within a tolerance that fits the hardware?
head: do the answers of every signature, for other limits, keep the right part of the server's *own* dense answers?
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from client.check.forms import Form, NotAsked, forms
from client.check.identity import identity_differences
from client.check.requests import Batch, ask, batches, unlimited
from client.check.results import CheckResult, SampleEvidence, Tally, by_signature
from client.check.session import BATCH, Session, answer_to
from client.errors import DecodeError, InputError
from client.rpc.calls import Call, identity_call, metadata_call
from client.rpc.metadata import ExportInfo, Metadata, Signature, Target
from client.rpc.sequences import CallSequence
from client.samples.golden import Expectation, ExpectedIdentity
from client.samples.images import with_file
from signatures.contract import names
from signatures.contract.answers import AnswerForm, Outputs, Scores, encoded, form_of
from signatures.contract.bounds import strict_bounds
from signatures.contract.judge import judge_dense
from signatures.contract.questions import ExportedLimits, Question, questions
from signatures.contract.tolerances import CPU, Tolerances, for_precision

# The number of samples in requests with every form of the limits. More samples would cost the server more and show
# nothing new.
_FEW = 4


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
    export = expectation.export or (None if served is None else ExpectedIdentity(served.labels))
    if export is None:
        session.head.asked += 1
        session.head.fault("the labels and the default k are not known, as the identity is not")
        unknown = metadata.signatures.keys() - {names.EXPORT_INFO}
        session.not_asked = [NotAsked(signature=key, reason="the labels are not known") for key in sorted(unknown)]
    else:
        session.labels, session.encoded_labels = export.labels, encoded(export.labels)
        session.exported = _limits(export, served)
        yield from _ask_signatures(session, _classifies_files(metadata, expectation.export, served))
    yield from _ask_identity(session)
    return _result(address, session)


def _limits(export: ExpectedIdentity, served: ExportInfo | None) -> ExportedLimits:
    """Return the expected limits of answers, or the server's own for those that are not known."""
    stated = ExportedLimits(k=0) if served is None else served
    return ExportedLimits(
        k=stated.k if export.k is None else export.k,
        min_score=stated.min_score if export.min_score is None else export.min_score,
        thresholds=stated.thresholds if export.thresholds is None else export.thresholds,
    )


def _classifies_files(metadata: Metadata, export: ExpectedIdentity | None, served: ExportInfo | None) -> bool:
    """Return whether `classify` takes image files. It does if the model's preprocessing is known."""
    encoded = {names.ENCODED_IMAGES, names.ENCODED_IMAGES_TOP_K} & set(metadata.signatures)
    return bool(encoded) or any(known is not None and known.preprocessing is not None for known in (export, served))


def _ask_signatures(session: Session, classifies_files: bool) -> CallSequence[None]:
    samples = session.expectation.samples
    bounded = bool(session.exported.thresholds)
    found, session.not_asked = forms(session.metadata, samples, session.labels, classifies_files, bounded)
    if all(form.files or form.own for form in found):
        session.backbone.asked += 1
        session.backbone.fault(f"no signature {names.SERVING_DEFAULT} takes {', '.join(samples[0].inputs)}")
    for form in found:
        few = next(batches(samples, form.numbers, min(_FEW, session.most)))
        yield from _ask_form(session, form, few, thorough=True)
        # Send all of them batched, and some alone, unless a request holds only one anyway.
        together = min(session.most, len(form.numbers))
        for size, numbers in ((together, form.numbers), (1, form.numbers[:BATCH] if together > 1 else ())):
            for batch in batches(samples, numbers, size):
                yield from _ask_form(session, form, batch, thorough=False)
    for key, verdicts in session.head.verdicts().items():
        if problem := strict_bounds(verdicts):
            session.head.fault(problem, signature=key)


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

    answer = yield from answer_to(session, tally, where, call(), call)
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
    known = np.zeros((len(batch), len(session.labels)), np.float32) if dense is None else dense
    for signature in form.signatures:
        takes = limits_taken(session, signature)
        for question in questions(takes=takes, exported=session.exported, dense=known, thorough=thorough):
            yield from _ask_head(session, form, signature, batch, question, dense)


def limits_taken(session: Session, signature: Signature) -> list[str]:
    """Return which of k and min_score a signature takes; metadata does not show the features of `classify`."""
    if signature.key != names.CLASSIFY:
        return list(signature.limits)
    bounded = any(names.MIN_SCORE in each.inputs for each in session.metadata.signatures.values())
    return [names.K, names.MIN_SCORE] if bounded else [names.K]


def _ask_backbone(session: Session, form: Form, batch: Batch) -> CallSequence[Scores | None]:
    """Return the server's dense answers, [B, N], or None if there are none to compare the head with."""
    tally, classes = session.backbone, len(session.labels)
    where = {"signature": form.dense.key, "k": f"{classes} (all)"}
    samples = [session.expectation.samples[number] for number in batch.numbers]
    files = form.files and not form.borrowed
    known = not form.own
    expected = [sample.dense if known and (sample.exact or not files) else None for sample in samples]
    tally.asked += sum(dense is not None for dense in expected)
    limits = unlimited(limits_taken(session, form.dense), len(batch), classes)
    call = ask(session.target, form.dense, files, batch, limits)
    answer = yield from answer_to(session, tally, where, call)
    if answer is None:
        return None
    served, problem = dense_scores(session, form.dense, answer[0], len(batch))
    if problem:
        tally.fault(problem, record=batch.numbers[0], **where)
        return None
    k = min(max(session.exported.k, 0), classes)
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


def dense_scores(session: Session, signature: Signature, outputs: Outputs, rows: int) -> tuple[Scores, str]:
    """Return the scores, [rows, N], of an answer with k = N, and its problem or ""."""
    form, classes = answer_form(signature), len(session.labels)
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
    answer = yield from answer_to(session, tally, where, call, instead)
    if answer is None:
        return None
    well_formed = judge_rows(session, tally, form, signature, batch, question, dense, answer[0], where)
    if well_formed and not question.sent and not form.files and signature.key == names.SERVING_DEFAULT:
        for number, row in zip(batch.numbers, answer[0][names.PROBABILITIES], strict=True):
            session.evidence[number].kept = tuple(np.flatnonzero(row).tolist())
    return None


def judge_rows(
    session: Session,
    tally: Tally,
    form: Form,
    signature: Signature,
    batch: Batch,
    question: Question,
    dense: Scores,
    outputs: Outputs,
    where: Mapping[str, str],
) -> bool:
    """Judge the rows of an answer against the server's own dense scores. Return False if the answer is malformed."""
    judged, classes = answer_form(signature), len(session.labels)
    widest, bounded = max(question.k), question.bounded
    if problem := judged.problem(outputs, len(batch), classes, widest, padded=session.batching, bounded=bounded):
        tally.fault(problem, record=batch.numbers[0], **where)
        return False
    # The server's own pixels and the pixels that were sent belong to different runs of the backbone.
    tolerance = session.tolerances.backbone if form.borrowed else session.tolerances.head
    for row, (number, k, bounds) in enumerate(zip(batch.numbers, question.k, question.bounds, strict=True)):
        output = {name: array[row] for name, array in outputs.items()}
        verdict = judged.judge(output, dense[row], k, bounds, session.encoded_labels, tolerance)
        tally.judged(number, verdict, signature=where["signature"], k=where["k"])
    return True


def answer_form(signature: Signature) -> AnswerForm:
    """Return the form that a signature answers in."""
    form = form_of(signature.outputs)
    if form is None:  # `client.check.forms` leaves these out.
        raise ValueError(f"signature {signature.key} answers in a form that is not known")
    return form
