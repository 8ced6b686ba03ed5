"""The fourth question, which is only asked if the REST port is known: does REST answer as gRPC does?

Every signature that REST can call is called with rows and with columns, with limits for each example. Like the head, it
is judged against the server's own dense answers over gRPC. The status and the metadata are compared with gRPC's.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from client.check.forms import Form, NotAsked, forms
from client.check.requests import Batch, ask, batches, example_features, outputs_of, unlimited
from client.check.results import CheckResult, Tally
from client.check.session import Session
from client.check.three_questions import dense_scores, judge_rows, limits_taken
from client.client import ServingClient
from client.errors import ClientError, DecodeError, UnreachableError
from client.rest.http import RestServer
from client.rest.json_forms import classify_request, columns, filled, not_callable, read_classes, read_outputs, rows
from client.rpc.metadata import Signature, Target
from client.rpc.sequences import one
from client.samples.golden import Expectation
from signatures.contract import names
from signatures.contract.answers import Outputs, Scores, encoded
from signatures.contract.questions import ExportedLimits, Question, questions

# Enough to tell rows apart. JSON is large.
_EXAMPLES = 3


def check_rest(client: ServingClient, rest: RestServer, target: Target, result: CheckResult) -> CheckResult:
    """Check a server over REST, and return the result of its check over gRPC with the answer added.

    Args:
        client: the client of the server's gRPC port.
        rest: the same server's REST port.
        target: the version that was checked.
        result: the result of that check. Some of its samples are sent again.

    Raises:
        UnreachableError: if nothing answers at the REST port.
    """
    tally, not_asked = Tally("rest"), list(result.not_asked)
    try:
        _ask(client, rest, target, result, tally, not_asked)
    except UnreachableError:
        raise
    except ClientError as error:
        # The check over gRPC met the same error. Its verdict must not be lost.
        tally.asked += 1
        tally.fault(f"REST could not be compared with gRPC: {error}")
    answer = tally.result(len({row.record for row in tally.rows}))
    passed = result.passed and answer.passed is True
    return replace(result, rest=answer, not_asked=tuple(not_asked), passed=passed)


def _ask(
    client: ServingClient,
    rest: RestServer,
    target: Target,
    result: CheckResult,
    tally: Tally,
    not_asked: list[NotAsked],
) -> None:
    metadata = client.metadata(version=target.version, label=target.label)
    served = client.info(version=target.version, label=target.label)
    samples = tuple(evidence.sample for evidence in result.evidence)
    session = Session(target, Expectation("", samples), result.tolerances, metadata, batching=result.batching)
    session.labels, session.encoded_labels = served.labels, encoded(served.labels)
    session.exported = ExportedLimits(k=served.k, min_score=served.min_score, thresholds=served.thresholds)
    _compare(tally, "the status", _grpc_status(client, target), lambda: _rest_status(rest.get(target)))
    declared = {key: sorted(signature.inputs) for key, signature in metadata.signatures.items()}
    _compare(tally, "the inputs in the metadata", declared, lambda: _rest_metadata(rest.get(target, "/metadata")))
    classifies_files = served.preprocessing is not None
    for form in forms(metadata, samples, served.labels, classifies_files, bool(served.thresholds))[0]:
        batch = next(batches(samples, form.numbers, _EXAMPLES))
        dense = _dense(client, session, form, batch)
        for signature in form.signatures:
            if reason := not_callable(signature):
                not_asked.append(NotAsked(signature=signature.key, reason=f"over REST, {reason}"))
            else:
                _ask_signature(session, tally, rest, form, signature, batch, dense)


def _dense(client: ServingClient, session: Session, form: Form, batch: Batch) -> Scores:
    limits = unlimited(limits_taken(session, form.dense), len(batch), len(session.labels))
    files = form.files and not form.borrowed
    outputs, _ = outputs_of(client.run(one(ask(session.target, form.dense, files, batch, limits))))
    scores, problem = dense_scores(session, form.dense, outputs, len(batch))
    if problem:
        raise DecodeError(f"signature {form.dense.key} over gRPC: {problem}")
    return scores


def _ask_signature(
    session: Session, tally: Tally, rest: RestServer, form: Form, signature: Signature, batch: Batch, dense: Scores
) -> None:
    asked = questions(takes=limits_taken(session, signature), exported=session.exported, dense=dense, thorough=False)
    for question in asked:
        for way in ("examples",) if signature.key == names.CLASSIFY else ("rows", "columns"):
            where = {"signature": signature.key, "k": f"{question.name}, in {way}"}
            tally.asked += len(batch)
            try:
                outputs = _outputs(rest, session.target, signature, form, batch, question, way)
            except UnreachableError:
                raise
            except ClientError as error:
                tally.fault(str(error), **where)
                continue
            judge_rows(session, tally, form, signature, batch, question, dense, outputs, where)


def _outputs(
    rest: RestServer, target: Target, signature: Signature, form: Form, batch: Batch, question: Question, way: str
) -> Outputs:
    if way == "examples":
        features = [example_features(form.files, batch, question.per_example, row) for row in range(len(batch))]
        outputs, _ = outputs_of(read_classes(rest.post(target, "classify", classify_request(signature.key, features))))
        return outputs
    inputs: Mapping[str, Any] = {names.ENCODED_IMAGES: batch.files} if form.files else batch.inputs
    arrays = filled(signature, {**inputs, **question.per_example})
    document = (rows if way == "rows" else columns)(signature.key, arrays)
    return read_outputs(rest.post(target, "predict", document), signature.outputs)


def _compare(tally: Tally, what: str, expected: Any, ask_rest: Any) -> None:
    tally.asked += 1
    try:
        found = ask_rest()
    except UnreachableError:
        raise
    except ClientError as error:
        tally.fault(f"{what}: {error}")
        return
    tally.answered += 1
    if found != expected:
        tally.fault(f"{what} over REST is {found}, over gRPC {expected}")


def _grpc_status(client: ServingClient, target: Target) -> dict[int, str]:
    # A real server ignores the label in a status request.
    return {one.version: one.state for one in client.status(version=target.version)}


def _rest_status(answer: Any) -> dict[int, str]:
    try:
        return {int(one["version"]): str(one["state"]) for one in answer["model_version_status"]}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DecodeError(f"a REST answer does not hold a status: {error!r}") from error


def _rest_metadata(answer: Any) -> dict[str, list[str]]:
    try:
        signatures = answer["metadata"]["signature_def"]["signature_def"]
        found = {key: sorted(stated["inputs"]) for key, stated in signatures.items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise DecodeError(f"a REST answer does not hold signatures: {error!r}") from error
    return {key: inputs for key, inputs in found.items() if not key.startswith("__")}
