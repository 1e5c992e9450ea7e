"""The metrics, as pure functions of numbers, lists and rows: no files, no model (import only).

    tofu.py              ROUGE recall, probability, truth ratio, model utility, forget quality
    memorization.py      extraction strength, exact memorisation
    membership.py        membership inference attacks, PrivLeak
    fluency.py           gibberish classifier, character model
    aggregates.py        OpenUnlearning's memorisation, privacy, utility, overall
    muse.py              VerbMem, KnowMem, MUSE's PrivLeak
    validity_checks.py   whether a target and a reference look as they must

Which rows a metric reads, its column, its heading and its direction are registered in
eval/report/question_metrics.py and question_columns.py.
"""
