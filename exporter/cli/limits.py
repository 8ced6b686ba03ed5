"""The options of `export-model` that bound the scores of an answer."""

from pathlib import Path

import click

LIMIT_OPTIONS = [
    click.option(
        "--min-score",
        type=click.FloatRange(0, 1),
        default=0.0,
        show_default=True,
        help="The lowest score that an answer keeps where a request does not say.",
    ),
    click.option(
        "--thresholds",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help='The lowest score to keep of each label: JSON by label, as in {"cat": 0.5}, or one number for all.',
    ),
    click.option(
        "--fit-thresholds",
        metavar="RULE",
        help="Fit them on the labeled samples: f1, precision=P or recall=R; needs scikit-learn.",
    ),
]
