"""An experiment directory belongs to one configuration and one set of data."""

import json
import shutil

import pytest
import yaml
from tiny_experiment import call, change, token_list_arguments, train_arguments, write_corpus
from tiny_whisper import write_whisper

from whisper_er.base.errors import UserError
from whisper_er.base.settings import load, to_plain
from whisper_er.bin import token_list, train
from whisper_er.config import ContextConfig, TrainConfig
from whisper_er.data import kaldi
from whisper_er.train.experiment import check_same, describe, protocol, trained_languages


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A directory with a corpus and, in exp, a short training on it."""
    root = write_corpus(tmp_path_factory.mktemp("experiment") / "corpus")
    call(train, *train_arguments(root, root / "exp", "max_steps=2"))
    return root


@pytest.fixture
def root(trained, tmp_path):
    """A copy of it, to be changed; the audio stays where it is."""
    return shutil.copytree(trained, tmp_path / "copy", ignore=shutil.ignore_patterns("wav"))


def files(root) -> dict:
    return {path: path.read_bytes() for path in (root / "exp").rglob("*") if path.is_file() and path.name != ".lock"}


def refusal(root, *overrides: str) -> str:
    before = files(root)
    with pytest.raises(UserError) as caught:
        call(train, *train_arguments(root, root / "exp", "max_steps=2", *overrides))
    assert files(root) == before
    assert str(root / "exp") in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_changed_configuration_is_refused_with_every_difference(root):
    message = refusal(root, "optim.lr=5e-3", "seed=2", "model.specaug.time_masks=1")
    for difference in ("optim.lr: 0.001 -> 0.005", "seed: 1 -> 2", "model.specaug.time_masks: 0 -> 1"):
        assert difference in message
    assert message.count("->") == 3


def test_a_key_that_came_later_had_its_default(root):
    path = root / "exp" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    del config["loss"], config["augment"], config["model"]["pool"], config["optim"]["schedule"]
    path.write_text(yaml.safe_dump(config))
    call(train, *train_arguments(root, root / "exp", "max_steps=2"))
    assert "optim.schedule: 'plateau' -> 'cosine'" in refusal(root, "optim.schedule=cosine")


def test_a_random_decoder_of_an_older_version_is_all_of_it(trained, tmp_path):
    old = yaml.safe_load((trained / "exp/config.yaml").read_text())
    old["model"]["decoder_init"] = "random"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(old))
    config = load(TrainConfig, tmp_path / "config.yaml")
    assert config.model.decoder_init == "all"
    (tmp_path / "state.safetensors").touch()
    (tmp_path / "data.yaml").write_text("{}")
    check_same(tmp_path, {"config": to_plain(config), "data": {}})
    with pytest.raises(UserError, match="model.decoder_init: 'all' -> 'layers'"):
        config.model.decoder_init = "layers"
        check_same(tmp_path, {"config": to_plain(config), "data": {}})


@pytest.mark.parametrize("change", ["max_steps=3", "n_best=3", "keep_checkpoints=true n_best=1"])
def test_a_finished_training_goes_on_to_no_other_end(root, change):
    """The state is gone: what the files of the directory say is enough."""
    assert not list((root / "exp").glob("state*"))
    option, _, value = change.split()[-1].partition("=")
    message = refusal(root, *change.split())
    assert f"{option}: 2 -> {value}; give another ser_tag, or remove the directory" in message


def test_a_training_whose_list_of_checkpoints_is_gone_does_not_start_anew_below_its_average(root):
    shutil.rmtree(root / "exp/checkpoints")
    (root / "exp/ave.safetensors").touch()
    assert "was trained, but checkpoints/best.json is gone: put it back" in refusal(root)


def test_a_changed_table_of_either_set_is_refused_by_name(root):
    change(root / "train", "text", train_00="three three")
    assert "train_set.sha256: " in (message := refusal(root)) and "valid_set" not in message
    change(root / "valid", "utt2emotion", valid_00="happy")
    assert "valid_set.sha256: " in refusal(root)


def test_turns_that_a_training_does_not_read_may_come_and_change(root, capsys):
    kaldi.write_table(root / "train/utt2prev", dict.fromkeys(kaldi.read_table(root / "train/utt2spk"), ""))
    call(train, *train_arguments(root, root / "exp", "max_steps=2"))
    assert "ended before" in capsys.readouterr().out
    inputs = {name: root / name.removesuffix("_set") for name in ("train_set", "valid_set", "token_list")}
    context = TrainConfig(context=ContextConfig(turns=1))
    (root / "exp/data.yaml").write_text(yaml.safe_dump(describe(context, inputs, {})["data"]))
    assert "data have changed" not in protocol(root / "exp", root / "test")
    change(root / "train", "utt2prev", train_00="train-01")
    assert "the training data have changed" in protocol(root / "exp", root / "test")


def test_a_changed_token_list_is_refused(root):
    call(token_list, *token_list_arguments(root, "--tasks", "gender emotion asr"))
    assert "token_list.sha256: " in refusal(root)


def test_the_same_data_elsewhere_is_accepted(root, capsys):
    (root / "train").rename(root / "moved")
    arguments = train_arguments(root, root / "exp", "max_steps=2", "--train_set", root / "moved")
    call(train, *arguments)
    assert "ended before: max_steps=2 reached" in capsys.readouterr().out


def test_what_the_model_does_not_depend_on_may_change(root, capsys):
    call(train, *train_arguments(root, root / "exp", "max_steps=2", "num_workers=1", "log_interval=7"))
    assert "ended before" in capsys.readouterr().out


def test_the_directory_describes_itself(trained):
    exp_dir = trained / "exp"
    assert load(TrainConfig, exp_dir / "config.yaml") == load(TrainConfig, trained / "train.yaml", ["max_steps=2"])
    environment = json.loads((exp_dir / "environment.json").read_text())
    assert {"git_revision", "torch", "transformers", "command", "threads"} <= environment.keys()
    assert yaml.safe_load((exp_dir / "data.yaml").read_text())["train_set"]["path"] == str(trained / "train")
    for name in ("token_list.yaml", "bpe.model"):
        assert (exp_dir / "token_list" / name).read_bytes() == (trained / "token_list" / name).read_bytes()


def test_a_directory_that_was_claimed_only_in_part_is_claimed_anew(root):
    (root / "exp/data.yaml").unlink()
    (root / "exp/token_list/bpe.model").unlink()
    (root / "exp/checkpoints/best.json").unlink()  # it says that training has ended
    call(train, *train_arguments(root, root / "exp", "max_steps=2"))
    assert (root / "exp/token_list/bpe.model").is_file() and (root / "exp/data.yaml").is_file()


def test_a_training_state_that_cannot_be_read_is_named_with_the_way_out(root):
    state = root / "exp/state.safetensors"
    state.write_bytes(b"PK")
    (root / "exp/checkpoints/best.json").unlink()  # it says that training has ended
    with pytest.raises(UserError) as caught:
        call(train, *train_arguments(root, root / "exp", "max_steps=2"))
    assert str(state) in str(caught.value) and f"remove {state} to start anew" in str(caught.value)
    assert "\n" not in str(caught.value)
    state.unlink()
    call(train, *train_arguments(root, root / "exp", "max_steps=2"))


def test_the_protocol_says_what_became_of_labels_and_whether_the_data_have_changed_since(root):
    for name in ("train", "test"):
        (root / name / ".about").write_text(f"one:{name}: dropped emotion calm 3; fury -> angry")
    inputs = {name: root / name.removesuffix("_set") for name in ("train_set", "valid_set", "token_list")}
    (root / "exp/data.yaml").write_text(yaml.safe_dump(describe(TrainConfig(), inputs, {})["data"]))
    line = protocol(root / "exp", root / "test")
    assert line.endswith(
        "0 in validation; labels of training: one:train: dropped emotion calm 3; fury -> angry; "
        "labels of test: one:test: dropped emotion calm 3; fury -> angry"
    )
    change(root / "train", "utt2emotion", train_00="happy")
    said = "; the training data have changed since: the model has not seen what is there now"
    assert protocol(root / "exp", root / "test") == line + said
    change(root / "valid", "utt2emotion", valid_00="happy")
    assert "; the training and validation data have changed since" in protocol(root / "exp", root / "test")
    shutil.rmtree(root / "train")
    assert "; the validation data have changed since" in protocol(root / "exp", root / "test")


def test_the_languages_of_the_prefixes_are_recorded_where_utt2lang_chose_them(root, tmp_path):
    write_whisper(tmp_path / "whisper")
    train_set = kaldi.read_table(root / "train/utt2spk")
    kaldi.write_table(root / "train/utt2lang", {utt_id: "de" if index < 4 else "" for index, utt_id in
                                               enumerate(train_set)})  # fmt: skip
    call(token_list, *token_list_arguments(root, "--token_type", "whisper", "--whisper_model", tmp_path / "whisper"))
    exp_dir = tmp_path / "exp"
    model = json.dumps({"whisper_model": str(tmp_path / "whisper")})
    (root / "train.yaml").write_text(f"{{model: {model}, max_steps: 1, valid_interval: 1, n_best: 1, num_workers: 0}}")
    call(train, *train_arguments(root, exp_dir))
    assert trained_languages(exp_dir) == {"de": 4, "en": 7}
    said = "trained on 11 utterances of 1 speakers, language prefixes: de 4, en 7 (utt2lang); model selected by"
    assert protocol(exp_dir, root / "test").startswith(said)
    call(train, *train_arguments(root, exp_dir))  # is the same training still

    assert trained_languages(root / "exp") == {} and "language" not in protocol(root / "exp", root / "test")
    data = yaml.safe_load((exp_dir / "data.yaml").read_text())
    data["train_set"]["languages"] = ["de"]
    (exp_dir / "data.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(UserError, match="data.yaml: not the sets of a training .'languages' is"):
        protocol(exp_dir, root / "test")
