"""Whether an mp3 file states its true length."""

from typing import BinaryIO

_ID3_HEADER = 10
_FIRST_FRAME = 4096


def states_length(file: BinaryIO) -> bool:
    """Tell if the first frame of an mp3 holds a count of frames that fits the file.

    The count is in a Xing, Info (LAME) or VBRI header. It does not fit where two files were
    joined end to end: the file is then longer than the first header says.

    Args:
        file: open at any place; it is moved.
    """
    size = file.seek(0, 2)
    start = file.seek(0)
    while (head := file.read(_FIRST_FRAME)).startswith(b"ID3"):
        # four bytes of seven bits each, behind a version and flags
        length = 0
        for byte in head[6:10]:
            length = length << 7 | byte & 0x7F
        start = file.seek(start + _ID3_HEADER + length)
    for tag, bytes_at in ((b"Xing", 12), (b"Info", 12), (b"VBRI", 10)):
        at = head.find(tag)
        if at < 0:
            continue
        if tag != b"VBRI":
            flags = int.from_bytes(head[at + 4 : at + 8], "big")
            if not flags & 1:
                return False
            if not flags & 2:
                return True
        stated = int.from_bytes(head[at + bytes_at : at + bytes_at + 4], "big")
        # FFmpeg's own margin, beyond which it drops the header too: a sixteenth
        return size - start <= stated * 17 // 16
    return False
