from setuptools import find_packages, setup

setup(
    name="whisper_er",
    version="0.1.0",
    description="Speech emotion recognition by fine-tuning the whole of Whisper",
    packages=find_packages(include=["whisper_er", "whisper_er.*"]),
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.6",
        "transformers>=5.23",
        "tokenizers",  # comes with transformers; a SentencePiece vocabulary is exported with it
        "huggingface_hub",  # comes with transformers; asked whether a hub name can be reached
        "safetensors",
        "kaldiio",  # writes arks; they are read through soundfile (whisper_er/audio.py says why)
        "soundfile",  # audio files, alone or inside an ark
        "sentencepiece",
        "jiwer",
        "pyyaml",
        "numpy",
        "tqdm",
    ],
    extras_require={
        "resample": ["soxr"],  # stage 1, for corpora that are not recorded at 16 kHz
        "viz": ["tensorboard", "matplotlib"],
        "mini": ["espeakng-loader"],  # the voice of egs/mini_emo: a wheel with its library, no system package
        "export": ["ctranslate2"],  # stage 7 with --ctranslate2; tools/benchmark: a peer to be as fast as
        # scikit-learn and scipy: independent scores, intervals and tests to check ours against
        "test": ["pytest", "pytest-xdist", "hypothesis", "ruff", "scikit-learn", "scipy"],
    },
)
