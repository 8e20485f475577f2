"""ser.sh, run for real in a recipe directory whose `python` only notes how it was called and makes empty outputs."""

import json
import os
import subprocess

import pytest
from repository import EGS, TEMPLATE
from stub_recipe import FOLDS, Recipe, option

DECODE_TWO = 2 * ["split_dir"] + 2 * ["decode"] + 2 * ["combine_dirs"]


@pytest.fixture
def recipe(tmp_path):
    return Recipe(tmp_path / "a recipe" / "ser1")


def names(calls):
    return [call[0] for call in calls]


@pytest.mark.parametrize(
    "args, message",
    [
        (["--fold", "1"], "unknown option --fold; did you mean --folds?"),
        (["--zzzzzz", "1"], "unknown option --zzzzzz;"),
        (["--nj"], "--nj has no value"),
        (["--nj", "--stage", "3"], "--nj has no value"),
        (["stage", "3"], "'stage' is not an option"),
        (["--nj", "many"], "--nj is 'many'; it must be a whole number"),
        (["--nj", "0"], "--nj is '0'; it must be at least 1"),
        (["--stage", "08"], "--stage is '08'"),
        (["--gpu_inference", "yes"], "--gpu_inference is 'yes'; it must be true or false"),
        (["--num_nodes", "0"], "--num_nodes is '0'; it must be at least 1"),
        (["--silent_audio", "drop"], "--silent_audio is 'drop'; it must be error or keep"),
        (["--token_type", "char"], "must be whisper, bpe or none"),
        (["--stage", "5", "--stop_stage", "4"], "stages run from 1 to 7"),
        (["--stop_stage", "8"], "stages run from 1 to 7"),
        (["--skip_stages", "2,3"], "--skip_stages is '2,3'"),
        (["--folds", "1,2"], "--folds is '1,2'"),
        (["--folds", "1", "--train_set", "mine"], "with --folds the sets are called"),
        (["--folds", "1", "--test_sets", "test dev"], "with --folds the sets are called"),
        (["--tasks", "asr; rm"], "--tasks is 'asr; rm'"),
        (["--test_sets", ""], "--test_sets is ''"),
        (["--expdir", "/JOBS/exp"], "--expdir is '/JOBS/exp'"),
        (["--ser_tag", "../../x"], "--ser_tag is '../../x'; it would lead out of its directory"),
        (["--inference_tag", "a/../b"], "--inference_tag is 'a/../b'; it would lead out of its directory"),
        (["--inference_model", "checkpoints/a"], "--inference_model is 'checkpoints/a'; write the name of a file"),
        (["--dumpdir", "-rf"], "--dumpdir is '-rf'; it would be taken for an option: write ./-rf"),
        (["--valid_split", "random"], "--valid_split is 'random'; it must be session or random:<share>"),
        (["--open_tasks", "speaker,sex"], "--open_tasks is 'speaker,sex'"),
        (["--seeds", "one"], "--seeds is 'one'"),
        (["--score_by", "a,b"], "--score_by is 'a,b'"),
        (["--ctranslate2", "int4"], "--ctranslate2 is 'int4'; it must be empty, or a quantization"),
        (["--encoder_model", "a", "--whisper_model", "b"], "--encoder_model and --whisper_model are both given"),
        (["--ser_args", "a='b"], "cannot split 'a='b' into words: No closing quotation"),
    ],
)
def test_a_wrong_call_is_one_clear_line_and_exit_2(recipe, args, message):
    done = recipe.run(*args)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (recipe.directory / "calls.jsonl").exists()


def test_seeds_train_decode_and_score_in_directories_of_their_own(recipe):
    calls = recipe.calls("--folds", "1", "--seeds", "1 2", "--token_type", "bpe", "--score_by", "style")
    exp = "exp/train_serialmtl_asr_gender_emotion"
    trains = [call for call in calls if call[0] == "train"]
    assert [(option(call, "--exp_dir"), call[-1]) for call in trains] == [
        (f"{exp}/seed1/fold1", "seed=1"),
        (f"{exp}/seed2/fold1", "seed=2"),
    ]
    assert names(calls).count("token_list") == 1 and names(calls).count("results") == 1
    assert option(calls[-1], "--exp_dir") == exp and option(calls[-1], "--seeds") == "1 2"
    scores = [call for call in calls if call[0] == "score"]
    assert [option(call, "--score_by") for call in scores] == ["style", "style"]
    assert option(calls[-1], "--folds") == "1"


def test_another_encoder_and_another_split_reach_what_they_concern(recipe):
    calls = recipe.calls(
        "--folds",
        "1",
        "--encoder_model",
        "x/wav lm",
        "--token_type",
        "none",
        "--tasks",
        "emotion",
        "--valid_split",
        "random:0.1",
    )
    (train,) = [call for call in calls if call[0] == "train"]
    assert option(train, "--encoder_model") == "x/wav lm" and "--whisper_model" not in train
    assert option(train, "--token_list") == "data/token_list/none_en_emotion/fold1"
    assert option(train, "--exp_dir") == "exp/train_serialmtl_wav_lm_emotion/fold1"
    (folds,) = [call for call in calls if call[0] == "make_folds"]
    assert option(folds, "--valid_split") == "random:0.1"


def test_open_tasks_reach_the_token_list_and_name_it_and_the_experiment(recipe):
    tasks = ("--tasks", "asr speaker emotion")
    closed, opened = (recipe.calls(*FOLDS, *tasks, *more) for more in ((), ("--open_tasks", "speaker")))
    lists = [[call for call in calls if call[0] == "token_list"] for calls in (closed, opened)]
    assert "--open_tasks" not in lists[0][0] and option(lists[1][0], "--open_tasks") == "speaker"
    name = "asr_speaker_emotion_open_speaker/fold"
    (train, _) = [call for call in opened if call[0] == "train"]
    assert option(lists[1][0], "--out_dir") == f"data/token_list/bpe100_en_{name}JOB"
    assert option(train, "--token_list") == f"data/token_list/bpe100_en_{name}1"
    assert option(train, "--exp_dir") == f"exp/train_serialmtl_{name}1"


def test_help_prints_every_option_with_comment_and_value(recipe):
    done = recipe.run("--nj", "9", "--help")
    block = (TEMPLATE / "ser.sh").read_text().split("## options\n")[1].split("## end of options")[0]
    options = [line for line in block.splitlines() if line and not line.startswith("#")]
    shown = [line for line in done.stdout.splitlines() if line.startswith("  --")]
    assert done.returncode == 0 and len(options) == len(shown) >= 30
    for line, help_line in zip(options, shown):
        name, comment = line.partition("=")[0], line.partition("# ")[2]
        assert help_line.split()[0] == f"--{name}" and comment and comment in help_line
    assert any(line.startswith("  --nj ") and line.endswith("[9]") for line in shown)


def test_the_stages_call_the_entry_points_in_order(recipe):
    calls = recipe.calls(*FOLDS)
    assert names(calls) == (
        ["data", "validate_data_dir", "format_data", "make_folds"]
        + ["token_list"]
        + 2 * ["train"]
        + ["average"]
        + DECODE_TWO
        + ["score", "results"]
    )
    exp = "exp/train_serialmtl_asr_gender_emotion"
    tokens = "data/token_list/bpe100_en_asr_gender_emotion"
    trains = [call for call in calls if call[0] == "train"]
    for fold, call in zip((1, 3), trains):
        assert call[1:] == [
            "--config",
            "conf/train_serialmtl.yaml",
            "--train_set",
            f"dump/fold{fold}/train",
            "--valid_set",
            f"dump/fold{fold}/valid",
            "--token_list",
            f"{tokens}/fold{fold}",
            "--exp_dir",
            f"{exp}/fold{fold}",
            "--ngpu",
            "0",
        ]
    assert option(calls[3], "--folds") == "1 3"
    for call, made in ((calls[4], ("--out_dir", f"{tokens}/foldJOB")), (calls[7], ("--exp_dir", f"{exp}/foldJOB")),
                       (calls[-2], ("--out", f"{exp}/foldJOB/decode_default/test/score/result.json"))):  # fmt: skip
        assert option(call, "--folds") == "1 3" and option(call, made[0]) == made[1]
    assert calls[-1][1:] == [
        "--exp_dir",
        exp,
        "--folds",
        "1 3",
        "--seeds",
        "",
        "--test_sets",
        "test",
        "--run_command",
        option(calls[-1], "--run_command"),
    ]
    assert option(calls[-1], "--run_command").startswith("./ser.sh ") and "1\\ 3" in option(calls[-1], "--run_command")


def test_the_table_keeps_the_folds_of_earlier_calls(recipe):
    recipe.calls("--folds", "3", "--token_type", "bpe")
    calls = recipe.calls("--folds", "1", "--token_type", "bpe")
    assert option(calls[-1], "--folds") == "1 3"


def test_with_folds_copies_of_the_test_set_are_decoded_and_scored_beside_it(recipe):
    recipe.calls(*FOLDS)
    only = ("--stage", "5", "--stop_stage", "6", "--test_sets", "test test_10dB")
    done = recipe.run(*FOLDS, *only)
    assert done.stderr == "error: dump/fold1/test_10dB is missing: whisper-er augment_dir writes it\n"
    for fold in (1, 3):
        (recipe.directory / f"dump/fold{fold}/test_10dB").mkdir()
    assert names(recipe.calls(*FOLDS, *only)) == [*DECODE_TWO, "score", "results"]


def test_configurations_are_read_before_the_first_stage_and_only_where_they_are_needed(recipe):
    recipe.run(*FOLDS, "--ser_args", "a=1", "--inference_args", "b=2")
    first = [json.loads(line) for line in (recipe.directory / "calls.jsonl").read_text().splitlines()][:2]
    assert first == [["check_config", "--kind", "train", "--config", "conf/train_serialmtl.yaml", "a=1"],
                     ["check_config", "--kind", "decode", "--config", "conf/decode.yaml", "b=2"]]  # fmt: skip
    done = recipe.run(*FOLDS, "--ser_config", "conf/none.yaml", "--stop_stage", "2")
    assert done.returncode == 0
    done = recipe.run(*FOLDS, "--inference_config", "conf/none.yaml")
    assert done.returncode == 1 and "conf/none.yaml is missing" in done.stderr and "stage" not in done.stdout


def test_stage_7_alone_says_how_to_get_it(recipe):
    done = recipe.run(*FOLDS, "--stage", "7")
    assert (done.returncode, done.stderr) == (1, "error: stage 7 is left out: --skip_export false runs it\n")


def test_a_set_that_tests_selects_and_trains_nothing(recipe):
    for sets in (["--valid_set", "test"], ["--folds", "", "--valid_set", "dev", "--test_sets", "a dev"],
                 ["--folds", "", "--train_set", "a", "--test_sets", "a"]):  # fmt: skip
        done = recipe.run("--folds", "1 2", *sets)
        assert done.returncode == 2 and "set" in done.stderr


def test_ready_sets_need_no_folds(recipe):
    sets = ("--train_set", "tr", "--valid_set", "dev", "--test_sets", "a b", "--token_type", "bpe", "--ser_tag", "x")
    calls = recipe.calls(*sets, SETS="tr dev a b")
    assert "make_folds" not in names(calls)
    assert [
        "check_speakers",
        "--train_set",
        "dump/tr",
        "--valid_set",
        "dump/dev",
        "--test_set",
        "dump/a",
        "dump/b",
        "--allow_shared_speakers",
        "false",
    ] in calls
    assert option(calls[names(calls).index("train")], "--exp_dir") == "exp/x"
    assert [option(call, "--out_dir") for call in calls if call[0] == "combine_dirs"] == [
        "exp/x/decode_default/a",
        "exp/x/decode_default/b",
    ]


def test_again_does_only_what_is_missing_or_out_of_date(recipe):
    recipe.calls(*FOLDS)
    always, decode_one = ["validate_data_dir", "check_audio", "train", "train", "results"], DECODE_TWO[::2]
    assert names(recipe.calls(*FOLDS)) == always
    assert names(recipe.calls("--folds", "1 2 3", "--token_type", "bpe")) == [
        "validate_data_dir",
        "check_audio",
        "make_folds",
        "token_list",
        *3 * ["train"],
        "average",
        *decode_one,
        "score",
        "results",
    ]

    (recipe.directory / "exp/train_serialmtl_asr_gender_emotion/fold1/checkpoints/2.safetensors").touch()
    assert names(recipe.calls(*FOLDS)) == [*always[:4], "average", *decode_one, "score", "results"]
    (recipe.directory / "conf/decode.yaml").touch()
    assert names(recipe.calls(*FOLDS)) == [*always[:4], *DECODE_TWO, "score", "results"]
    assert names(recipe.calls(*FOLDS, "--bpe_size", "50")) == [*always[:2], "token_list", *always[2:]]
    (recipe.directory / "data/all/text").touch()
    assert names(recipe.calls(*FOLDS, "--stop_stage", "1")) == ["validate_data_dir", "format_data", "make_folds"]
    (recipe.directory / "dump/fold1/valid/utt2spk").unlink()
    (recipe.directory / "dump/fold1/valid").rmdir()
    made = recipe.calls(*FOLDS, "--stop_stage", "1")[2]
    assert (made[0], option(made, "--folds")) == ("make_folds", "1")


def test_other_weights_are_decoded_beside_those_of_averaging(recipe):
    recipe.calls(*FOLDS)
    name, exp = "ave.towards_pretrained_0.3", recipe.directory / "exp/train_serialmtl_asr_gender_emotion"
    other = ("--folds", "1", "--stage", "5", "--stop_stage", "6", "--inference_model", f"{name}.safetensors")
    assert f"fold1/{name}.safetensors is missing" in recipe.run(*other).stderr
    (exp / f"fold1/{name}.safetensors").touch()
    _, decoded, *_ = calls = recipe.calls(*other)
    assert option(decoded, "--model") == f"{name}.safetensors" and "combine_dirs" in names(calls)
    assert (exp / f"fold1/decode_{name}/test").is_dir() and (exp / "fold1/decode_default/test").is_dir()
    tagged = (*other, "--inference_tag", "default")  # those of averaging are there under this tag
    assert "decode" in names(recipe.calls(*tagged)) and "decode" in names(
        recipe.calls(*other[:6], "--inference_tag", "default")
    )


def test_what_a_stamp_names_has_to_be_there(recipe):
    recipe.calls(*FOLDS, "--stop_stage", "2")
    (recipe.directory / "data/token_list/bpe100_en_asr_gender_emotion/fold3/utt2spk").write_text("")
    assert names(recipe.calls(*FOLDS, "--stop_stage", "2")) == ["validate_data_dir", "check_audio", "token_list"]
    (recipe.directory / "dump/fold1/train/utt2spk").unlink()
    calls = names(recipe.calls(*FOLDS, "--stop_stage", "2"))
    assert calls == ["validate_data_dir", "check_audio", "make_folds", "token_list"]
    (recipe.directory / "dump/all/utt2spk").unlink()
    calls = names(recipe.calls(*FOLDS, "--stop_stage", "2"))
    assert calls == ["validate_data_dir", "format_data", "make_folds", "token_list"]
    assert recipe.run(*FOLDS, "--stop_stage", "1", "--valid_split", "random:0.5", FAIL="make_folds").returncode == 1
    assert "make_folds" in names(recipe.calls(*FOLDS, "--stop_stage", "1"))  # it may have stopped half way


def test_a_set_whose_audio_has_changed_is_formatted_anew_and_says_why(recipe):
    recipe.calls(*FOLDS, "--stop_stage", "2")
    done = recipe.run(*FOLDS, "--stop_stage", "2", CHANGED="a.wav has changed")
    assert done.returncode == 0, done.stderr
    assert "stage 1: a.wav has changed\n" in done.stdout
    calls = map(json.loads, (recipe.directory / "calls.jsonl").read_text().splitlines())
    made = ["validate_data_dir", "check_audio", "format_data", "make_folds", "token_list"]
    assert [name for name in names(calls) if name != "check_config"] == made


def test_a_changed_list_of_labels_in_the_corpus_is_read_again(recipe):
    corpus = recipe.directory / "my corpus"
    corpus.mkdir()
    prepare = (*FOLDS, "--corpus_dir", corpus, "--stop_stage", "1")
    assert names(recipe.calls(*prepare))[0] == "data"
    assert names(recipe.calls(*prepare)) == ["validate_data_dir", "check_audio"]
    (corpus / "labels.csv").touch()
    assert names(recipe.calls(*prepare)) == ["data", "validate_data_dir", "format_data", "make_folds"]
    (corpus / "labels.csv").unlink()
    corpus.rmdir()  # what was made of it stays usable
    assert names(recipe.calls(*prepare)) == ["validate_data_dir", "check_audio"]


def test_silent_utterances_are_kept_on_demand_which_puts_no_dump_out_of_date(recipe):
    prepare = (*FOLDS, "--stop_stage", "1")
    assert option(recipe.calls(*prepare)[2], "--silent_audio") == "error"
    assert names(recipe.calls(*prepare, "--silent_audio", "keep")) == ["validate_data_dir", "check_audio"]
    again = recipe.calls(*prepare, "--silent_audio", "keep", CHANGED="a recording has changed")
    assert option(next(call for call in again if call[0] == "format_data"), "--silent_audio") == "keep"


def test_a_failed_stage_stops_the_run_and_is_done_again(recipe):
    done = recipe.run(*FOLDS, FAIL="train")
    assert done.returncode == 1
    assert "error: train failed\ntraining: 1 of 2 failed; log: exp/" in done.stderr
    recipe.calls(*FOLDS)
    (recipe.directory / "conf/decode.yaml").touch()
    assert recipe.run(*FOLDS, "--allow_pipes", "true", FAIL="format_data").returncode == 1
    assert recipe.run(*FOLDS, "--stage", "5", FAIL="decode").returncode == 1
    again = names(recipe.calls(*FOLDS, "--allow_pipes", "true"))
    assert "format_data" in again and "decode" in again


@pytest.mark.parametrize(
    "stage, message",
    [
        (2, "dump/fold1/train is missing: run stage 1 first"),
        (3, "dump/fold1/train is missing: run stage 1 first"),
        (4, "exp/t/fold1/checkpoints is missing: run stage 3 first"),
        (5, "exp/t/fold1/ave.safetensors is missing: run stage 4 first"),
        (6, "exp/t/fold1/decode_default/test is missing: run stage 5 first"),
    ],
)
def test_a_stage_whose_input_is_missing_names_the_stage_that_makes_it(recipe, stage, message):
    done = recipe.run(*FOLDS, "--ser_tag", "t", "--stage", str(stage))
    assert (done.returncode, done.stderr) == (1, f"error: {message}\n")


def test_words_of_an_option_reach_the_entry_point_unchanged(recipe):
    calls = recipe.calls(
        *FOLDS,
        "--corpus_dir",
        "my $dir",
        "--local_data_opts",
        "--a 'b ü' \"\" `id` *",
        "--ser_args",
        "max_steps=1 name='<|x|> $(id)'",
        "--whisper_model",
        "/m/tiny en/",
        "--inference_args",
        "beam_size=1",
        PYTHONIOENCODING="ascii",
    )
    assert calls[0] == ["data", "--corpus_dir", "my $dir", "--a", "b ü", "", "`id`", "*"]
    train = calls[names(calls).index("train")]
    assert train[-2:] == ["max_steps=1", "name=<|x|> $(id)"]
    assert option(train, "--whisper_model") == "/m/tiny en/"
    tag = "train_serialmtl_tiny_en_max_steps=1_name=___x_____id___asr_gender_emotion"
    assert option(train, "--exp_dir") == f"exp/{tag}/fold1"
    averaged = calls[names(calls).index("average")]
    assert averaged == ["average", "--exp_dir", f"exp/{tag}/foldJOB", "--folds", "1 3"]
    assert calls[names(calls).index("decode")][-1] == "beam_size=1"
    combine = calls[names(calls).index("combine_dirs")]
    assert option(combine, "--out_dir") == f"exp/{tag}/fold1/decode_beam_size=1/test"


def test_stage_7_and_skipped_stages(recipe):
    calls = recipe.calls(*FOLDS, "--skip_stages", "5 6", "--skip_export", "false")
    assert names(calls)[-2:] == ["export", "export"] and "decode" not in names(calls)


def test_stage_7_takes_the_data_card_and_the_scores_and_converts_where_it_is_asked_to(recipe):
    only = (*FOLDS, "--stage", "7", "--skip_export", "false")
    recipe.calls(*FOLDS)
    exp = "exp/train_serialmtl_asr_gender_emotion"
    assert [call[1:] for call in recipe.calls(*only)] == [
        ["--exp_dir", f"{exp}/fold{fold}", "--out_dir", f"{exp}/fold{fold}/export"] for fold in (1, 3)
    ]
    (recipe.directory / "conf/data_card.yaml").touch()
    converted = (*only, "--ctranslate2", "int8", "--ctranslate2_allow_different", "2", "--inference_args", "a=1")
    calls = recipe.calls(*converted)
    assert names(calls) == 2 * ["export"] + 2 * ["export_ctranslate2"]
    assert option(calls[0], "--data_card") == "conf/data_card.yaml"
    assert calls[2][1:] == [
        "--export_dir",
        f"{exp}/fold1/export",
        "--out_dir",
        f"{exp}/fold1/export_ctranslate2",
        "--data_dir",
        "dump/fold1/test",
        "--quantization",
        "int8",
        "--allow_different",
        "2",
        "--config",
        "conf/decode.yaml",
        "a=1",
    ]
    assert recipe.calls(*converted) == []
    assert names(recipe.calls(*only, "--ctranslate2", "float32")) == 2 * ["export_ctranslate2"]
    (recipe.directory / exp / "fold3/decode_default/test/score/result.json").touch()
    calls = recipe.calls(*only, "--ctranslate2", "float32")
    assert [call[0] for call in calls] == ["export", "export_ctranslate2"]
    assert option(calls[0], "--exp_dir") == f"{exp}/fold3"  # its card shows the new scores


def test_whisper_tokens_need_a_model_and_a_config_must_exist(recipe):
    assert "token_type=whisper needs --whisper_model" in recipe.run("--folds", "1").stderr
    done = recipe.run(*FOLDS, "--ser_config", "conf/no.yaml")
    assert "error: conf/no.yaml is missing: write it, or choose another file with --ser_config" in done.stderr


def test_a_backend_that_is_not_there_is_refused(recipe):
    done = recipe.run(*FOLDS, cmd_backend="pbs")
    assert (done.returncode, done.stderr) == (2, "error: cmd.sh: cmd_backend is 'pbs'; allowed are local and slurm\n")


def test_setup_makes_a_recipe_directory_once(tmp_path):
    template = tmp_path / "egs/TEMPLATE/ser1"
    subprocess.run(["cp", "-R", TEMPLATE, tmp_path], check=True)
    template.parent.mkdir(parents=True)
    (tmp_path / "ser1").rename(template)
    setup = [template / "setup.sh", "egs/new/ser1"]
    subprocess.run(setup, cwd=tmp_path, check=True)
    new = tmp_path / "egs/new/ser1"
    for name in ("ser.sh", "path.sh", "cmd.sh", "utils"):
        assert os.readlink(new / name) == f"../../TEMPLATE/ser1/{name}" and (new / name).exists()
    assert (new / "conf/decode.yaml").is_file() and os.access(new / "run.sh", os.X_OK)
    assert (new / "conf/slurm.conf").samefile(template / "conf/slurm.conf")
    (new / "path.sh").unlink()
    (new / "path.sh").touch()
    done = subprocess.run(
        [new / "local/data.sh", "--corpus_dir", "x"], cwd=new, check=False, capture_output=True, text=True
    )
    assert done.returncode == 1 and "still the stub" in done.stderr
    for target in ("egs/new/ser1", "elsewhere/new/ser1"):
        assert subprocess.run([setup[0], target], cwd=tmp_path, check=False, capture_output=True).returncode == 1


@pytest.mark.parametrize("corpus", ["mini_emo", "emodb", "ravdess", "iemocap"])
def test_the_recipes_link_to_the_template_and_pass_options_on(corpus):
    recipe = EGS / corpus / "ser1"
    for name in ("ser.sh", "path.sh", "cmd.sh", "utils"):
        assert os.readlink(recipe / name) == f"../../TEMPLATE/ser1/{name}"
    assert os.readlink(recipe / "conf/slurm.conf") == "../../../TEMPLATE/ser1/conf/slurm.conf"
    done = subprocess.run([recipe / "run.sh", "--nj", "77", "--help"], check=False, capture_output=True, text=True)
    assert done.returncode == 0 and "[77]" in done.stdout
