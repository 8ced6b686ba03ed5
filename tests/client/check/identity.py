"""Another export than was asked for."""

import json

import numpy as np

from signatures.contract import names

from .table import HEAD, IDENTITY, add, attributes, declared_as, fault, info_as

add("another export id", [IDENTITY], info_as(export_id=b"f" * 32))
add("another model", [IDENTITY], info_as(model=b"digits"))
add("no preprocessing named", [IDENTITY], attributes(preprocessing=None))
add("another preprocessing", [IDENTITY], attributes(preprocessing="tf"))
add("another golden digest", [IDENTITY], info_as(golden_digest=b"0" * 64))
add("labels permuted", [IDENTITY, HEAD], attributes(labels=tuple("bacdefgh")))
add("labels permuted in the identity alone", [IDENTITY], info_as(labels=json.dumps(list("hgfedcba")).encode()))
add("a label renamed", [IDENTITY, HEAD], attributes(labels=("A", *"bcdefgh")))
add("a label missing", [IDENTITY], info_as(labels=json.dumps(list("abcdefg")).encode()))
add("a label with a space", [IDENTITY, HEAD], attributes(labels=("a ", *"bcdefgh")))
add("the identity says k + 1", [IDENTITY], info_as(k=3))
add("the identity is not JSON", [IDENTITY], info_as(labels=b"a, b, c"))
add("the identity is a number", [IDENTITY], info_as(labels=b"8"))
add("default k + 1", [IDENTITY, HEAD], attributes(default_k=3))
add("default k - 1", [IDENTITY, HEAD], attributes(default_k=1))
add("no identity served", [IDENTITY], declared_as(lambda signatures: signatures.pop(names.EXPORT_INFO)))
add("no top_k served", [IDENTITY], declared_as(lambda signatures: signatures.pop(names.TOP_K)))
add("no fixed_k served", [IDENTITY], declared_as(lambda signatures: signatures.pop(names.FIXED_K)))


@fault(IDENTITY)
def one_identity_for_many_probes(model, server):
    right = model.info
    model.info = lambda probe: right(probe[:1])


@fault(IDENTITY)
def two_identities_at_once(model, server):
    right = model.info

    def info(probe):
        outputs = right(probe)
        outputs[names.EXPORT_ID][-1] = b"other"
        return outputs

    model.info = info


@fault(IDENTITY)
def another_shape_declared(model, server):
    declared_as(lambda s: s[names.TOP_K]["inputs"][names.IMAGES].update(shape=[-1, 4, 4, 3]))(model, server)


@fault(IDENTITY)
def another_dtype_declared(model, server):
    declared_as(lambda s: s[names.FIXED_K]["outputs"][names.PROBABILITIES].update(dtype="float64"))(model, server)


@fault(IDENTITY)
def another_method_declared(model, server):
    declared_as(lambda s: s[names.FIXED_K].update(method="tensorflow/serving/classify"))(model, server)


@fault(IDENTITY)
def another_export_comes_while_the_check_runs(model, server):
    right, calls = model.info, []

    def info(probe):
        calls.append(1)
        return right(probe) | ({} if len(calls) == 1 else {names.EXPORT_ID: np.full(len(probe), b"x", object)})

    model.info = info
