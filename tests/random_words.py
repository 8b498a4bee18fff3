"""The documented random bits of a step on Python's integers, and which step the cases are of."""

import math
import zlib
from functools import cache

SEED, STEP, FIRST_INDEX = 0x0123456789ABCDEF, 7, 100


def threefry_by_integers(key, counter, rounds):
    """Threefry-2x32 of Salmon et al., 2011, on Python's unsigned integers."""
    word = 2**32
    keys = (*key, key[0] ^ key[1] ^ 0x1BD11BDA)
    x, y = (counter[0] + keys[0]) % word, (counter[1] + keys[1]) % word
    for number in range(rounds):
        distance = (13, 15, 26, 6, 17, 29, 16, 24)[number % 8]
        x = (x + y) % word
        y = x ^ ((y << distance) % word | y >> (32 - distance))
        if (number + 1) % 4 == 0:
            group = (number + 1) // 4
            x = (x + keys[group % 3]) % word
            y = (y + keys[(group + 1) % 3] + group) % word
    return x, y


@cache  # a Python loop for each word, and every engine is asked for the same ones
def words_by_integers(seed, step, path, index, count):
    """The documented words of one image: those of all first outputs, then of all second ones."""
    layer = zlib.crc32("/".join(path).encode())
    key = threefry_by_integers((seed % 2**32, seed >> 32), (step, layer), 13)
    pairs = [threefry_by_integers(key, (index, k), 13) for k in range(math.ceil(count / 2))]
    return [*(x for x, _ in pairs), *(y for _, y in pairs)][:count]
