"""What a file is by its first bytes, for messages about one that is not what its name says."""

import re

HEAD = 1024  # bytes that are enough to tell
CONVERT = "convert it: ffmpeg -i IN -ar 16000 -ac 1 OUT.wav"
UNPACK = "unpack it"
AGAIN = "the server answered with it, perhaps because of a login: download the file again"

# (what the bytes begin with, what such a file is, what to do); the first that matches holds.
KINDS = [
    (rb".{4}(ftyp|moov|mdat|wide)", "MP4 (m4a, mp4, mov, 3gp)", CONVERT),
    (rb"\xff[\xf0\xf1\xf8\xf9]|ADIF", "AAC", CONVERT),
    (rb"\x1a\x45\xdf\xa3", "Matroska or WebM", CONVERT),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "ASF (wma, wmv)", CONVERT),
    (rb"RIFF.{4}AVI ", "AVI", CONVERT),
    (rb"\0\0\x01[\xb3\xba]|\x47.{187}\x47", "an MPEG video or stream", CONVERT),
    (rb"FLV\x01", "Flash video", CONVERT),
    (rb"#!AMR", "AMR", CONVERT),
    (rb"OggS", "Ogg that libsndfile cannot decode", f"restore the file, or {CONVERT}"),
    (rb"ID3", "MP3 or AAC that libsndfile cannot decode", f"restore the file, or {CONVERT}"),
    (rb"wvpk|MAC |TTA1|\x0b\x77|DSD |caff.{24}(aac|alac)", "compressed audio that libsndfile lacks", CONVERT),
    (rb"NIST_1A.*embedded-shorten|ajkg", "shorten (of SPHERE files)", "convert it: sph2pipe -f wav IN OUT.wav"),
    (rb"version https://git-lfs", "a Git LFS pointer", "fetch the file itself: git lfs pull"),
    (rb"[^\n]{0,200}/annex/objects/", "a git-annex pointer", "fetch the file itself: git annex get"),
    (rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)", "an HTML page", AGAIN),
    (rb"(\xef\xbb\xbf)?\s*<(\?xml|!|[A-Za-z])", "XML", AGAIN),
    (rb"\s*\{\s*\"", "JSON", AGAIN),
    (rb"PK(\x03\x04|\x05\x06)", "a zip archive", UNPACK),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!", "a compressed file or archive", UNPACK),
    (rb".{257}ustar", "a tar archive", UNPACK),
    (rb"%PDF", "a PDF document", AGAIN),
    (rb"\0+\Z", "zeros where the header should be", "restore the file"),
    (rb"[\t\n\r -~]+\Z", "text", "restore the file"),
]
# Endings of recordings that are of such a kind.
MEDIA_SUFFIXES = {
    ".3gp", ".aac", ".ac3", ".amr", ".ape", ".asf", ".avi", ".flv", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov",
    ".mp4", ".mpeg", ".mpg", ".mts", ".webm", ".wma", ".wmv", ".wv",
}  # fmt: skip


def kind_of(head: bytes) -> tuple[str, str] | None:
    """What a file is that begins with these bytes, and what to do; None for what is in no list here."""
    for pattern, kind, remedy in KINDS:
        if re.match(pattern, head[:HEAD], re.DOTALL):
            return kind, remedy
    return None
