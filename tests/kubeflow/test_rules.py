"""What Kubeflow would do with a metrics file: every rule, and Google's own decoder as an independent judge."""

from __future__ import annotations

import json

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from hypothesis import example, given
from hypothesis import strategies as st

from kedro_mlflow_metrics.kubeflow.rules import Outcome, check

EVERY = "every version"
LEGACY = "up to 0.5.2"
OLD = "up to 2.5.0"
NEW = "2.14.0 and later, perhaps after 2.5.0"
UP_TO_2_17 = "up to 2.17.0"
AFTER_2_17 = "after 2.17.0"
FILE, METRIC, REST = Outcome.DROPS_FILE, Outcome.DROPS_METRIC, Outcome.DROPS_REST
IGNORES, MYSQL = Outcome.IGNORES, Outcome.IGNORES_ON_MYSQL
ZERO, NEVER = Outcome.STORES_ZERO, Outcome.NEVER_STORES
NOT_KNOWN, TAKES = Outcome.NOT_KNOWN, Outcome.TAKES

GOOD = '{"name": "loss", "numberValue": 0.25, "format": "RAW"}'
HALF_KNOWN = [(FILE, NEW), (NOT_KNOWN, OLD)]


def document(*metrics):
    """Return a file of metrics, each given as JSON."""
    return f'{{"metrics": [{", ".join(metrics)}]}}'.encode()


def named(*names):
    """Return a file of good metrics but for their names."""
    return json.dumps({"metrics": [{"name": name, "numberValue": 1} for name in names]}).encode()


def valued(number):
    """Return a file of a good metric but for its value, given as JSON."""
    return document(f'{{"name": "loss", "numberValue": {number}}}')


def verdicts(content, *, legacy=False):
    """Return where, what and which versions, without the words."""
    return [(found.entry, found.outcome, found.versions) for found in check(content, legacy=legacy)]


@pytest.mark.parametrize(
    "content",
    [
        document(GOOD),
        document(GOOD, '{"numberValue": 1, "name": "top-5"}'),
        b"\n\t " + document(GOOD) + b" \r\n",
        b"{}",
        b'{"metrics": []}',
        b'{"metrics": null}',
        document('{"name": "a", "numberValue": -1.5e-300, "format": null}'),
        document('{"name": "a", "numberValue": 1, "format": "PERCENTAGE"}'),
        document(r'{"\u006eame": "\u0061", "numberValue": 1}'),
        *(valued(number) for number in ("0", "-0", "1e308", "12345678901234567890")),
        named(*(f"m{number}" for number in range(50))),
        document(GOOD).ljust(2**20),
    ],
    ids=lambda content: content[:60].decode(),
)
@pytest.mark.parametrize("legacy", [False, True])
def test_what_every_version_takes_has_no_finding(content, legacy):
    """A good file has none, nor one that reports nothing; both decoders take it."""
    assert check(content, legacy=legacy) == []
    assert google_takes(content)


@pytest.mark.parametrize(
    "content",
    [
        valued('"0.25"'),
        valued('"-1E5"'),
        document('{"name": "a", "numberValue": 1, "format": "UNSPECIFIED"}'),
    ],
    ids=bytes.decode,
)
@pytest.mark.parametrize("legacy", [False, True])
def test_what_is_taken_though_the_documentation_does_not(content, legacy):
    """A number as text, and the format UNSPECIFIED: every version takes them, and both decoders."""
    assert verdicts(content, legacy=legacy) == [(0, TAKES, EVERY)]
    assert google_takes(content)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", [(FILE, EVERY)]),
        (b" \n", [(FILE, EVERY)]),
        (b"{", [(FILE, EVERY)]),
        (b"loss: 0.1", [(FILE, EVERY)]),
        (b"{'metrics': []}", [(FILE, EVERY)]),
        (b'{"metrics": [],}', [(FILE, EVERY)]),
        (b"\xef\xbb\xbf" + document(GOOD), [(FILE, EVERY)]),
        (b"\xef\xbb\xbf", [(FILE, EVERY), (FILE, EVERY)]),
        (document(GOOD).decode().encode("utf-16"), [*HALF_KNOWN, (FILE, EVERY)]),
        (b'{"loss": 0.1}', [(FILE, EVERY)]),
        (b'{"loss": 0.1, "acc": 0.9}', [(FILE, EVERY), (FILE, EVERY)]),
        (b'{"metrics": [], "version": 1}', [(FILE, EVERY)]),
        (b'{"Metrics": []}', [(FILE, EVERY)]),
        (f"[{GOOD}]".encode(), [(FILE, EVERY)]),
        (b"[]", [(FILE, EVERY)]),
        (b'"text"', [(FILE, EVERY)]),
        (b"1", [(FILE, EVERY)]),
        (b"true", [(FILE, EVERY)]),
        (b"NaN", [(FILE, EVERY)]),
        (b"null", HALF_KNOWN),
        (b'{"metrics": {"loss": 0.1}}', [(FILE, EVERY)]),
        (b'{"metrics": 1}', [(FILE, EVERY)]),
        (b'{"metrics": ""}', [(FILE, EVERY)]),
        (b'{"metrics": [], "metrics": []}', [(FILE, NEW)]),
        (document(GOOD) + b"{}", [(FILE, NEW)]),
        (document(GOOD) + b" x", [(FILE, NEW)]),
        (document(GOOD) + b"\x00", [(FILE, NEW)]),
        (b'{"runId": "r"}', [(NOT_KNOWN, EVERY)]),
        (b'{"run_id": null}', [(NOT_KNOWN, EVERY)]),
        (b'{"run_id": 1}', [(NOT_KNOWN, EVERY), (FILE, EVERY)]),
        (b'{"run_id": "r", "runId": "r"}', [(FILE, NEW), (NOT_KNOWN, EVERY), (NOT_KNOWN, EVERY)]),
        (document(GOOD).ljust(2**20 + 1), [(FILE, AFTER_2_17)]),
        (named(*(f"m{number}" for number in range(51))), [(REST, EVERY)]),
        (b"[" * 200_000, [(FILE, EVERY)]),
        (b'{"a":' * 200_000, [(FILE, EVERY)]),
    ],
    ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else "",
)
def test_a_file_that_is_not_taken_as_it_is(content, expected):
    """What is wrong with the file as such has no entry."""
    assert verdicts(content) == [(None, *verdict) for verdict in expected]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("null", HALF_KNOWN),
        ("0.25", [(FILE, EVERY)]),
        ('"loss"', [(FILE, EVERY)]),
        ("[]", [(FILE, EVERY)]),
        ('{"name": "acc", "numberValue": 1, "step": 3}', [(FILE, EVERY)]),
        ('{"name": "acc", "numberValue": 1, "step": 3, "unit": "s"}', [(FILE, EVERY), (FILE, EVERY)]),
        ('{"name": "acc", "value": 1}', [(FILE, EVERY), (ZERO, EVERY)]),
        ('{"name": "acc", "numbervalue": 1}', [(FILE, EVERY), (ZERO, EVERY)]),
        ('{"name": "acc", "numberValue": 1, "run_id": "r"}', [(FILE, EVERY)]),
        ('{"name": "acc", "numberValue": 1, "numberValue": 1}', [(FILE, NEW)]),
        ('{"name": "b", "name": "acc", "numberValue": 1}', [(FILE, NEW)]),
        ('{"name": "acc", "number_value": 1}', [(NOT_KNOWN, EVERY)]),
        ('{"name": "acc", "number_value": true}', [(NOT_KNOWN, EVERY), (FILE, EVERY)]),
        ('{"name": "acc", "numberValue": 1, "number_value": 1}', [(FILE, NEW), (NOT_KNOWN, EVERY)]),
        ('{"name": "acc", "numberValue": 1, "nodeId": "n"}', [(NOT_KNOWN, EVERY)]),
        ('{"name": "acc", "numberValue": 1, "node_id": 5}', [(NOT_KNOWN, EVERY), (FILE, EVERY)]),
        (r'{"name": "acc", "numberValue": 1, "node_id": "\ud800"}', [(NOT_KNOWN, EVERY), *HALF_KNOWN]),
        ("{}", [(METRIC, EVERY), (ZERO, EVERY)]),
    ],
    ids=str,
)
def test_an_entry_that_is_not_taken_as_it_is(metric, expected):
    """What is wrong with an entry names the entry, also where the whole file falls with it."""
    assert verdicts(document(GOOD, metric)) == [(1, *verdict) for verdict in expected]


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        ("NaN", FILE),
        ("Infinity", FILE),
        ("-Infinity", FILE),
        ("1e400", FILE),
        ("-1e400", FILE),
        pytest.param("9" * 5000, FILE, id="5000-digits"),
        ("true", FILE),
        ('"high"', FILE),
        ('""', FILE),
        ('"nan"', FILE),
        ('"inf"', FILE),
        ("[0.25]", FILE),
        ('{"value": 0.25}', FILE),
        ("null", ZERO),
        ('"NaN"', NEVER),
        ('"Infinity"', NEVER),
        ('"-Infinity"', NEVER),
        ('" 0.25"', NOT_KNOWN),
        ('"0.25 "', NOT_KNOWN),
        ('"0,25"', NOT_KNOWN),
        ('"+1"', NOT_KNOWN),
        ('".5"', NOT_KNOWN),
        ('"1_000"', NOT_KNOWN),
        ('"1e400"', NOT_KNOWN),
        ('"\u0661"', NOT_KNOWN),
    ],
)
def test_a_value_that_is_not_taken_as_it_is(number, outcome):
    """A value is a finite number; a text that is no number as JSON writes it is another matter."""
    assert verdicts(valued(number)) == [(0, outcome, EVERY)]


@pytest.mark.parametrize(
    ("unit", "outcome"),
    [
        ('"raw"', FILE),
        ('""', FILE),
        ('"PERCENT"', FILE),
        ('"1"', FILE),
        ("true", FILE),
        ("[]", FILE),
        ("{}", FILE),
        ("0.5", FILE),
        ("1e10", FILE),
        ("NaN", FILE),
        ("1", NOT_KNOWN),
        ("7", NOT_KNOWN),
    ],
)
def test_a_format_that_is_not_taken_as_it_is(unit, outcome):
    """A format is one of Kubeflow's words; a number may stand for one, which nobody tried."""
    content = document(f'{{"name": "loss", "numberValue": 1, "format": {unit}}}')
    assert verdicts(content) == [(0, outcome, EVERY)]


@pytest.mark.parametrize("name", ["a", "a1", "a-b", "a" * 63, "a" * 64, "a" + "-" * 62 + "b"], ids=str)
def test_a_name_that_every_version_takes(name):
    """Lower case letters, digits and hyphens inside, up to 64 characters, are taken since ever."""
    assert verdicts(named(name), legacy=True) == []


@pytest.mark.parametrize("name", ["A", "aB", "Loss", "a_b", "A" * 64], ids=str)
def test_a_name_that_versions_before_1_0_did_not_take(name):
    """Capital letters and underscores are taken since 1.0."""
    assert verdicts(named(name)) == []
    assert verdicts(named(name), legacy=True) == [(0, METRIC, LEGACY)]


@pytest.mark.parametrize(
    "name",
    ["", "a.b", "a b", "a/b", "1a", "-a", "_a", "a-", "a_", "-", "a\n", "a\nb", "größe", "\u0430", "a\u0661", "a\x00"],
    ids=ascii,
)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_name_that_no_version_takes(name, legacy):
    """A letter first, a letter or digit last, ASCII throughout; only that metric is dropped."""
    assert verdicts(named("loss", name), legacy=legacy) == [(1, METRIC, EVERY)]


@pytest.mark.parametrize("name", [5, True, [], {}], ids=str)
def test_a_name_that_is_no_text(name):
    """A name of another type costs the whole file."""
    assert verdicts(named(name)) == [(0, FILE, EVERY)]


@pytest.mark.parametrize("metric", ['{"numberValue": 1}', '{"name": null, "numberValue": 1}'], ids=str)
def test_a_metric_without_a_name(metric):
    """A name that is missing or null is the empty name."""
    assert verdicts(document(metric)) == [(0, METRIC, EVERY)]


@pytest.mark.parametrize("legacy", [False, True])
def test_a_name_over_64_characters(legacy):
    """It costs the metric up to 2.17.0, and the whole file after that."""
    assert verdicts(named("a" * 65), legacy=legacy) == [(0, METRIC, UP_TO_2_17), (0, FILE, AFTER_2_17)]


def test_half_a_surrogate_pair_in_a_name():
    """Newer versions drop the whole file; what older ones do is not known, but the name is a bad one in all."""
    assert verdicts(named("a\ud800")) == [*((0, *verdict) for verdict in HALF_KNOWN), (0, METRIC, EVERY)]
    assert verdicts(named("a\U0001f600")) == [(0, METRIC, EVERY)]


def test_bytes_that_are_no_utf_8():
    """Newer versions drop the whole file; the entries are judged all the same."""
    found = verdicts(document(GOOD, '{"name": "a\xff", "numberValue": null}').decode().encode("latin-1"))
    assert found == [*((None, *verdict) for verdict in HALF_KNOWN), (1, METRIC, EVERY), (1, ZERO, EVERY)]


def test_a_name_that_stands_twice():
    """The first value wins, the others are ignored."""
    assert verdicts(named("a", "b", "a", "a")) == [(2, IGNORES, EVERY), (3, IGNORES, EVERY)]


def test_names_equal_but_for_capital_letters():
    """They probably collide on MySQL, the later with the first; the very same name surely does."""
    assert verdicts(named("acc", "Acc", "ACC", "Acc")) == [(1, MYSQL, EVERY), (2, MYSQL, EVERY), (3, IGNORES, EVERY)]


def test_the_entry_that_wins_is_named():
    """A message points to the first of several entries with one name."""
    problems = [found.problem for found in check(named("a", "b", "B", "b", "B", "BB", "bb"))]
    assert [problem.partition(";")[0] for problem in problems] == [
        "entry 1 has the same name but for capital letters",
        "entry 1 has the same name",
        "entry 2 has the same name",
        "entry 5 has the same name but for capital letters",
    ]


def test_three_of_a_name_point_to_the_first():
    """The first wins over the third too, by its name and by its name in small letters."""
    for names in [("a", "a", "a"), ("a", "A", "a")]:
        assert check(named(*names))[-1].problem == "entry 0 has the same name; keep one of them"
    assert check(named("abc", "Abc", "ABC"))[-1].problem.startswith("entry 0 has the same name but")


@pytest.mark.parametrize("name", ["a.b", "a" * 65], ids=["dot", "long"])
def test_bad_names_are_not_compared(name):
    """Two metrics that are dropped for their names do not collide."""
    assert not {outcome for _, outcome, _ in verdicts(named(name, name))} & {IGNORES, MYSQL}


def test_all_problems_are_told():
    """The file's own come first, then those of each entry in turn."""
    content = b'\xef\xbb\xbf{"step": 1, "metrics": [{"name": "a.b", "numberValue": NaN, "format": "raw"}, 1]} {}'
    assert verdicts(content) == [
        (None, FILE, EVERY),
        (None, FILE, NEW),
        (None, FILE, EVERY),
        (0, METRIC, EVERY),
        (0, FILE, EVERY),
        (0, FILE, EVERY),
        (1, FILE, EVERY),
    ]


@pytest.mark.parametrize(
    ("content", "name", "problem"),
    [
        (
            b'{"loss": 0.1}',
            "",
            "the file has the unknown key 'loss'; write an object whose one key metrics has a list; "
            "each entry is an object of name, numberValue and format",
        ),
        (
            b'{"metrics": [\n}',
            "",
            "this is no JSON at line 2, column 1: Expecting value; write an object whose one key metrics has a list; "
            "each entry is an object of name, numberValue and format",
        ),
        (
            named("a[0]"),
            "a(0)",
            "the name 'a(0)' is not taken; use a-z, A-Z, 0-9, - and _, a letter first, no - or _ last",
        ),
        (
            named("a\n"),
            r"a\n",
            r"the name 'a\n' is not taken; use a-z, A-Z, 0-9, - and _, a letter first, no - or _ last",
        ),
        (
            valued("NaN"),
            "loss",
            "numberValue is NaN, infinite, or too large for a double; write a finite number or leave the metric out",
        ),
        (
            document('{"name": "loss", "numberValue": 1, "format": "percent"}'),
            "loss",
            "format is 'percent'; write RAW or PERCENTAGE, or leave it out",
        ),
        (valued('"1.5"'), "loss", "numberValue is the text '1.5'; write the number itself"),
        (named("a", "a"), "a", "entry 0 has the same name; keep one of them"),
    ],
    ids=["plain", "json", "brackets", "newline", "nan", "format", "text", "twice"],
)
def test_a_problem_says_what_is_wrong_and_what_to_write(content, name, problem):
    """The words are plain, on one line, and without square brackets."""
    assert [(found.name, found.problem) for found in check(content)] == [(name, problem)]


def test_a_long_text_is_cut():
    """A message shows at most 80 characters of a text from the file."""
    (found,) = check(document('{"name": "a", "numberValue": "%s"}' % ("x" * 10_000)))
    assert found.problem.startswith(f"numberValue is the text '{'x' * 77}...'; ")


# What follows proves laws instead of cases.

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
NAMES = st.sampled_from(["a", "A", "a.b", "", "x" * 65, "a\ud800", "a\n", "[a]"])
METRICS = st.fixed_dictionaries(
    {}, optional={"name": NAMES | ANY_JSON, "numberValue": ANY_JSON, "format": ANY_JSON, "step": ANY_JSON}
)
FILES = ANY_JSON | st.fixed_dictionaries(
    {"metrics": st.lists(METRICS | ANY_JSON, max_size=60) | ANY_JSON}, optional={"run_id": ANY_JSON}
)


def assert_sound(content, *, legacy=False):
    """Every finding is a finding, whatever the file."""
    for entry, name, problem, outcome, versions in check(content, legacy=legacy):
        assert entry is None or entry >= 0
        assert (name + problem).isprintable()
        assert not set(name + problem) & set("[]")
        assert isinstance(outcome, Outcome)
        assert versions in {EVERY, LEGACY, OLD, NEW, UP_TO_2_17, AFTER_2_17}


@given(content=st.binary(), legacy=st.booleans())
@example(content=b"\xed\xa0\x80", legacy=False)
@example(content=b'{"metrics": "\\ud800"}', legacy=False)
@example(content=b"[" * 100_000 + b"]" * 100_000, legacy=False)
def test_any_bytes_are_judged(content, legacy):
    """No bytes raise an error; every message is one line without square brackets."""
    assert_sound(content, legacy=legacy)


@given(data=FILES, legacy=st.booleans())
def test_any_json_is_judged(data, legacy):
    """No JSON raises an error, Python's own NaN included."""
    assert_sound(json.dumps(data).encode(), legacy=legacy)


@given(
    names=st.lists(st.from_regex(r"\A[a-z]([-a-z0-9]{0,62}[a-z0-9])?\Z"), max_size=50, unique=True),
    value=st.floats(allow_nan=False, allow_infinity=False),
    unit=st.sampled_from([None, "RAW", "PERCENTAGE"]),
)
def test_a_good_file_has_no_finding(names, value, unit):
    """Any finite values under different good names are fine in every version, and reach Kubeflow's message."""
    metrics = [{"name": name, "numberValue": value, "format": unit} for name in names]
    content = json.dumps({"metrics": metrics}).encode()
    assert check(content, legacy=True) == []
    assert [(metric.name, metric.number_value) for metric in decoded(content).metrics] == [(n, value) for n in names]


def request_class():
    """Build the message that Kubeflow decodes the file into, from its published .proto."""
    types = descriptor_pb2.FieldDescriptorProto
    once, many = types.LABEL_OPTIONAL, types.LABEL_REPEATED
    file = descriptor_pb2.FileDescriptorProto(name="run.proto", package="kfp", syntax="proto3")
    metric = file.message_type.add(name="RunMetric")
    metric.oneof_decl.add(name="value")
    metric.field.add(name="name", number=1, type=types.TYPE_STRING, label=once)
    metric.field.add(name="node_id", number=2, type=types.TYPE_STRING, label=once)
    metric.field.add(name="number_value", number=3, type=types.TYPE_DOUBLE, label=once, oneof_index=0)
    metric.field.add(name="format", number=4, type=types.TYPE_ENUM, label=once, type_name=".kfp.RunMetric.Format")
    formats = metric.enum_type.add(name="Format")
    for number, name in enumerate(("UNSPECIFIED", "RAW", "PERCENTAGE")):
        formats.value.add(name=name, number=number)
    request = file.message_type.add(name="ReportRunMetricsRequest")
    request.field.add(name="run_id", number=1, type=types.TYPE_STRING, label=once)
    request.field.add(name="metrics", number=2, type=types.TYPE_MESSAGE, label=many, type_name=".kfp.RunMetric")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("kfp.ReportRunMetricsRequest"))


REQUEST = request_class()


def decoded(content):
    """Decode a file as Kubeflow does since 2.14.0, with Google's decoder for Python instead of Go."""
    return json_format.Parse(content, REQUEST())


def google_takes(content):
    """Tell whether Google's decoder takes the whole file."""
    try:
        decoded(content)
    except (json_format.ParseError, UnicodeDecodeError):
        return False
    return True


def file_is_dropped(content):
    """Tell whether we say that 2.14.0 drops the whole file."""
    return any(found.outcome is FILE and found.versions in {EVERY, NEW} for found in check(content))


@pytest.mark.parametrize(
    "content",
    [
        # Python's float() takes more than a JSON number: booleans, and words that Go does not know.
        valued("true"),
        valued('"inf"'),
        # Python's int() makes a format out of what Go refuses: text, booleans, fractions.
        document('{"name": "a", "numberValue": 1, "format": "1"}'),
        document('{"name": "a", "numberValue": 1, "format": true}'),
        document('{"name": "a", "numberValue": 1, "format": 0.5}'),
        # Python looks for the keys of an empty list or text as if it were an object, and finds none.
        b"[]",
        b'""',
        document("[]"),
        document('""'),
        # Python compares the keys as spelled, Go the fields.
        b'{"runId": "a", "run_id": "b"}',
    ],
    ids=bytes.decode,
)
def test_where_the_decoders_of_python_and_go_differ(content):
    """These are taken in Python alone; so the comparisons below leave them out."""
    assert google_takes(content)
    assert file_is_dropped(content)


TEXTS = st.sampled_from(['"a"', '"a.b"', '""', r'"\ud800"', r'"\ud83d\ude00"', "null", "1", "true", '["a"]', "{}"])
NUMBERS = ["1", "-0.5", "1e308", "1e400", "9" * 400, "NaN", "-Infinity", "null", '"0.25"', '"NaN"', '"high"', '""']
FIELDS = {
    "name": TEXTS,
    "nodeId": TEXTS,
    "format": st.sampled_from(
        ['"RAW"', '"PERCENTAGE"', '"raw"', '""', "null", "1", "7", "1e10", "NaN", "{}", '["RAW"]']
    ),
    "step": st.just("1"),
    "Name": st.just('"a"'),
}
VALUES = st.sampled_from([*NUMBERS, "[1]", "{}"])


def rendered(pairs):
    """Write an object, in which a key may stand twice."""
    return "{" + ", ".join(f'"{key}": {value}' for key, value in pairs) + "}"


@st.composite
def metrics_as_json(draw):
    """Write a metric that is good or wrong in a few places."""
    value = draw(st.sampled_from(["numberValue", "number_value"]))
    fields = FIELDS | {value: VALUES}
    keys = draw(st.lists(st.sampled_from(["name", value, "format"]), max_size=4) | st.lists(st.sampled_from([*fields])))
    return rendered((key, draw(fields[key])) for key in keys)


@st.composite
def files_as_json(draw):
    """Write a file that is good or wrong in a few places."""
    metrics = draw(st.lists(metrics_as_json() | st.sampled_from(["null", "1", "true"]), max_size=3))
    values = {"metrics": f"[{', '.join(metrics)}]", "runId": draw(TEXTS), "loss": "0.1"}
    keys = draw(st.just(["metrics"]) | st.lists(st.sampled_from([*values]), max_size=3))
    before = draw(st.sampled_from(["", "", " ", "\ufeff"]))
    after = draw(st.sampled_from(["", "", "\n", "{}", "x"]))
    return f"{before}{rendered((key, values[key]) for key in keys)}{after}".encode()


@given(content=files_as_json())
def test_we_drop_the_files_that_google_s_decoder_refuses(content):
    """For 2.14.0 we say "the whole file" where Google's decoder refuses it, and nowhere else."""
    assert file_is_dropped(content) == (not google_takes(content))


def test_one_byte_off():
    """A good file with any one byte taken out, changed or put in is judged as Google's decoder judges it."""
    good = document('{"name":"a","numberValue":-10.5e1,"format":"RAW"}', "{}")
    others = [bytes([byte]) for byte in b'{}[],:"\\ntuf0-+.eE \n\t/\x00\x0c\x7f\xa0\xc3\xff']
    for at in range(len(good) + 1):
        for byte in [b"", *others]:
            for content in (good[:at] + byte + good[at:], good[:at] + byte + good[at + 1 :]):
                assert file_is_dropped(content) == (not google_takes(content)), content
