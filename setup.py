from setuptools import find_packages, setup

setup(
    name="whisper_er",
    version="0.1.0",
    description="Speech emotion recognition by fine-tuning the whole of Whisper",
    packages=find_packages(include=["whisper_er", "whisper_er.*"]),
    package_data={
        "whisper_er": ["py.typed"],
        "whisper_er.report": ["report.css", "report.js", "page.html.j2", "results.md.j2", "seeds.md.j2"],
        "whisper_er.export": ["model_card.md.j2"],
    },
    entry_points={"console_scripts": ["whisper-er=whisper_er.__main__:main"]},
    python_requires=">=3.10",
    install_requires=[
        # A floor is the oldest version that tools/README.md lists as run.
        "torch>=2.6",
        "transformers>=5.4",  # before, a layer of Whisper returns a tuple
        "tokenizers",  # comes with transformers; a SentencePiece vocabulary is exported with it
        "huggingface_hub",  # comes with transformers; asked whether a hub name can be reached
        "safetensors",
        "kaldiio",  # writes arks; they are read through soundfile (whisper_er/audio/reading.py says why)
        "soundfile>=0.13",  # audio files, alone or inside an ark; before, write() has no compression_level
        "soxr",  # to 16 kHz from any other rate
        "sentencepiece",
        "jiwer>=4.0",  # before, it refuses a reference without words
        "rapidfuzz",  # comes with jiwer; counts errors without an alignment
        "regex",  # comes with transformers; letters with their combining marks
        "pyyaml",
        "jinja2>=3.1",  # comes with torch; the report, RESULTS.md and the model card are templates
        "numpy",
        "tqdm>=4.60",  # 4.42 lacks what transformers imports
    ],
    extras_require={
        "viz": ["tensorboard", "matplotlib"],
        "mini": ["espeakng-loader"],  # the voice of egs/mini_emo: a wheel with its library, no system package
        "demo": ["gradio>=6.31,<7"],  # the page of `whisper-er demo`
        "lora": ["peft>=0.21.2"],  # lora.r
        "export": ["ctranslate2"],  # stage 7 with --ctranslate2; tools/benchmark: a peer to be as fast as
        # scikit-learn and scipy: independent scores, intervals and tests to check ours against (before scipy 1.15,
        # bootstrap() has no rng)
        # playwright: opens the HTML pages in Chromium, which is installed apart; it downloads nothing for that
        "test": ["pytest", "pytest-xdist", "hypothesis", "ruff", "scikit-learn", "scipy>=1.15", "playwright"],
    },
)
