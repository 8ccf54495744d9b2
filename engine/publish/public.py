"""What of a run's settings may be told to everybody: no folder, file or address of this machine."""

import re

from engine.data_folder import at_home
from engine.secrets import hide
from engine.settings.judge_names import BETWEEN, judge_kind, split_judges
from engine.settings.schema import Settings, changed, fields
from engine.settings.sections import output, session

_ADDRESS = re.compile(r" at https?://\S+|https?://\S+")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_LEFT_OUT = {"lm_studio_name", "judge_key_env", "eval_judge_key_env", "trust_remote_code"}


def is_local(name: str) -> bool:
    """Whether a model or data is a file or a folder here, and no id of the hub."""
    path = at_home(name)
    return path.is_absolute() or name.startswith((".", "~")) or path.exists()


def hub_id(name: str | None) -> str | None:
    """`name` where it is an id of the hub."""
    return name if name and _HUB_ID.fullmatch(name) and not is_local(name) else None


def public_name(name: str) -> str:
    """A model or data by a name that says nothing of this machine."""
    return hide(at_home(name).name if is_local(name) else name)


def public_judge(name: str) -> str:
    """A judge, or several, without the address of a server or the folder of a file."""
    return BETWEEN.join(map(_public_judge, split_judges(name)))


def _public_judge(name: str) -> str:
    if judge_kind(name) == "server":
        return "a model on a server"
    return public_name(_ADDRESS.sub("", name)) or "a model on a server"


def judge_of(settings: Settings) -> str:
    """All who judge the run."""
    judges = [
        public_name(settings.judge_model or "") or public_judge(name)
        if judge_kind(name) == "server"
        else public_judge(name)
        for name in settings.judges
    ]
    person = ["a person"] if settings.asks_person else []
    return ", ".join([*person, *(each for each in judges if each != "human")])


def public_settings(settings: Settings) -> dict[str, object]:
    """The settings that differ from their defaults and are of the training itself."""
    own = {
        field.key for field in fields() if field.section in (output.SECTION, session.SECTION)
    } | _LEFT_OUT
    # A server may call a model by its file there, or here.
    of_servers = ("judge_model", "eval_judge_model")
    named = ("model", "reference_model_path", "resume_adapter_file", "warm_start", *of_servers)
    judges = ("judge", "hybrid_model", "eval_judge")
    public: dict[str, object] = {}
    for key, (value, _) in changed(settings).items():
        if key in own:
            continue
        if key == "data":
            value = ", ".join(map(public_name, settings.data_names))
        elif key == "data_mix":
            value = [source | {"data": public_name(str(source["data"]))} for source in value]
        elif key in named and isinstance(value, str):
            value = public_name(value)
        elif key in (*judges, "guard_function") and isinstance(value, str):
            value = public_judge(value)
        elif key == "guard_suites":
            value = [public_name(each) for each in value]
        public[key] = hide(value) if isinstance(value, str) else value
    return public
