"""Which signatures can be called with the given samples, in which form, and why the others cannot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from client.rpc.metadata import Metadata, Signature
from client.samples.golden import Sample
from client.samples.rows import own_inputs
from signatures.contract import names
from signatures.contract.answers import form_of

_CLASSIFY_METHOD = "tensorflow/serving/classify"


_OURS = {
    names.SERVING_DEFAULT,
    names.TOP_K,
    names.FIXED_K,
    names.DENSE,
    names.ENCODED_IMAGES_DENSE,
    names.ENCODED_IMAGES,
    names.ENCODED_IMAGES_TOP_K,
    names.CLASSIFY,
}


@dataclass(frozen=True)
class Form:
    """One way to send samples.

    Attributes:
        files: whether they are sent as image files; otherwise as the model's inputs.
        numbers: the samples that can be sent in this form.
        signatures: the signatures that take this form.
        dense: the signature that returns their dense scores, with k = N if it takes k.
        borrowed: whether `dense` is not one of `signatures`, but takes the pixels of the files as the model's inputs.
        own: whether the signature is the user's own, so that only its head can be checked.
    """

    files: bool
    numbers: tuple[int, ...]
    signatures: tuple[Signature, ...]
    dense: Signature
    borrowed: bool = False
    own: bool = False


@dataclass(frozen=True, kw_only=True)
class NotAsked:
    """A signature that the samples cannot be sent to, and the reason."""

    signature: str
    reason: str


def forms(
    metadata: Metadata,
    samples: Sequence[Sample],
    labels: Sequence[str],
    classifies_files: bool,
    has_thresholds: bool,
) -> tuple[list[Form], list[NotAsked]]:
    """Return the ways in which these samples can be sent to a model, and the signatures that cannot be called.

    `classifies_files` says whether the examples of `classify` hold image files instead of the model's inputs. The
    metadata does not show that. `has_thresholds` says whether labels have thresholds.
    """
    own = set(samples[0].inputs)
    takers: dict[bool, list[Signature]] = {False: [], True: []}
    not_asked = []
    for key, signature in metadata.signatures.items():
        if key == names.EXPORT_INFO:
            continue
        files = _takes_files(signature, own, classifies_files)
        if files is None:
            inputs = ", ".join(own_inputs(signature))
            reason = f"it takes {inputs or 'nothing'}, and the samples are of {', '.join(sorted(own))}"
            not_asked.append(NotAsked(signature=key, reason=reason))
        elif form_of(signature.outputs) is None:
            reason = f"the check cannot judge a signature that answers {', '.join(signature.outputs)}"
            not_asked.append(NotAsked(signature=key, reason=reason))
        elif has_thresholds and key not in _OURS and signature.limits:
            reason = "no request can show its scores below the labels' thresholds"
            not_asked.append(NotAsked(signature=key, reason=reason))
        else:
            takers[files].append(signature)
    found = [form for signatures in takers.values() for form in _own_forms(signatures, samples)]
    own_keys = {form.dense.key for form in found}
    takers = {files: [each for each in signatures if each.key not in own_keys] for files, signatures in takers.items()}
    for files, signatures in takers.items():
        if not signatures:
            continue
        form = _files_form(signatures, metadata, samples, labels) if files else _inputs_form(signatures, len(samples))
        if isinstance(form, Form):
            found.append(form)
        else:
            not_asked += [NotAsked(signature=signature.key, reason=form) for signature in signatures]
    return found, not_asked


def _takes_files(signature: Signature, own: set[str], classifies_files: bool) -> bool | None:
    """Return whether a signature takes image files or the model's inputs, or None for anything else."""
    if signature.key == names.CLASSIFY and signature.method == _CLASSIFY_METHOD:
        return classifies_files
    if own_inputs(signature).keys() == {names.ENCODED_IMAGES}:
        return True
    return False if own_inputs(signature).keys() == own else None


def _own_forms(signatures: Sequence[Signature], samples: Sequence[Sample]) -> list[Form]:
    """Return a form for each signature that is not one of ours.

    Nothing else shows what it should compute, so its head is compared with its own answers for k = N.
    """
    found = []
    for signature in signatures:
        if signature.key in _OURS or names.K not in signature.inputs:
            continue
        files = own_inputs(signature).keys() == {names.ENCODED_IMAGES}
        numbers = tuple(number for number, sample in enumerate(samples) if not files or sample.file is not None)
        if numbers:
            found.append(Form(files, numbers, (signature,), signature, own=True))
    return found


def _inputs_form(signatures: Sequence[Signature], samples: int) -> Form | str:
    there = _by_key(signatures)
    dense = there.get(names.DENSE) or there.get(names.SERVING_DEFAULT)
    if dense is None:
        return f"there is no {names.SERVING_DEFAULT} that returns the dense scores of these inputs"
    return Form(False, tuple(range(samples)), tuple(signatures), dense)


def _files_form(
    signatures: Sequence[Signature], metadata: Metadata, samples: Sequence[Sample], labels: Sequence[str]
) -> Form | str:
    numbers = tuple(number for number, sample in enumerate(samples) if sample.file is not None)
    if not numbers:
        return "it takes image files, and no sample is an image file or 8-bit pixels"
    there = _by_key(signatures)
    # If classes have the same name, the answers of `classify` do not tell them apart.
    classify = (names.CLASSIFY,) if len(set(labels)) == len(labels) else ()
    for key in (names.ENCODED_IMAGES_DENSE, names.ENCODED_IMAGES, names.ENCODED_IMAGES_TOP_K, *classify):
        if key in there:
            return Form(True, numbers, tuple(signatures), there[key])
    exact = tuple(number for number in numbers if samples[number].exact)
    dense = metadata.signatures.get(names.DENSE) or metadata.signatures.get(names.SERVING_DEFAULT)
    if dense is None or not exact:
        return "no signature returns the dense scores of these image files"
    return Form(True, exact, tuple(signatures), dense, borrowed=True)


def _by_key(signatures: Sequence[Signature]) -> Mapping[str, Signature]:
    return {signature.key: signature for signature in signatures}
