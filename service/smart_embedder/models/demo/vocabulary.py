"""The pieces that demo texts fall into, and the two tokenizers over them.

Pieces are syllables, so any Latin word has a short spelling that it shares with few others. Both
tokenizers are of the real kind (Unigram with a metaspace; byte-level BPE), only smaller.
"""

from itertools import product

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

VOWELS = "aeiouy"
CONSONANTS = "bcdfghjklmnpqrstvwxz"
STOP_WORDS = (
    "a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "has",
    "have", "how", "i", "in", "is", "it", "its", "no", "not", "of", "on", "or", "that", "the",
    "then", "there", "this", "to", "was", "we", "were", "what", "when", "where", "which", "who",
    "why", "will", "with", "yes", "you", "your",
)  # fmt: skip
TEMPLATE_WORDS = (
    "answer", "assistant", "based", "document", "given", "instruct", "judge", "meets", "note",
    "only", "passages", "provided", "query", "relevant", "requirements", "retrieve", "search",
    "system", "think", "user", "web", "whether",
)  # fmt: skip
"""What every prompt of the Qwen3 reranker repeats, and which therefore says nothing."""
PLAIN_WORDS = STOP_WORDS + TEMPLATE_WORDS
ALPHABETS = ((0x21, 0x7F), (0xA1, 0x180), (0x370, 0x400), (0x400, 0x500), (0x5D0, 0x5EB),
             (0x621, 0x64B), (0x905, 0x93A), (0x3041, 0x3100))  # fmt: skip
"""ASCII, Latin, Greek, Cyrillic, Hebrew, Arabic, Devanagari and kana: one piece a character."""

CONTROL = "".join(map(chr, range(0x100, 0x122)))
"""How byte-level BPE writes the control bytes and the blank."""
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where Qwen's tokenizer parts a text; a fact of that model family."""

END = "<|endoftext|>"
TURN = "<|im_start|>"
TURN_END = "<|im_end|>"


def syllables() -> list[tuple[str, str]]:
    """List every syllable as the two parts it is merged from: ba = b+a, bad = ba+d, ad = a+d."""
    open_ = [(c, v) for c, v in product(CONSONANTS, VOWELS)]
    closed = [(c + v, end) for (c, v), end in product(open_, CONSONANTS)]
    return [*open_, *closed, *((v, c) for v, c in product(VOWELS, CONSONANTS))]


def root(piece: str) -> str:
    """Return what a piece has in common with its capitalised and word-initial kin."""
    return piece.lstrip("▁Ġ").lower()


def is_weak(piece: str) -> bool:
    """Tell whether a piece says little: a stop word, a lone Latin letter, a mark, a line end."""
    core = root(piece)
    lone = len(core) < 2 and (core.isascii() or core in CONTROL) and not core.isdigit()
    return lone or core in PLAIN_WORDS or core.startswith(("<", "ċ"))


def unigram() -> Tokenizer:
    """Build XLM-RoBERTa's kind of tokenizer: `<s> a </s>`, `<s> a </s></s> b </s>`."""
    whole = [first + second for first, second in syllables()]
    cores = dict.fromkeys([*PLAIN_WORDS, *whole])
    cores |= dict.fromkeys(piece.capitalize() for piece in list(cores))
    letters = [chr(code) for start, stop in ALPHABETS for code in range(start, stop)]
    pieces = dict.fromkeys(["▁", *letters, *cores, *("▁" + core for core in cores)])
    specials = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    # One price for every piece, so the shortest spelling wins; a plain word costs less than two.
    priced = [(piece, -5.0 if root(piece) in PLAIN_WORDS else -10.0) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram([*specials, *priced, ("<mask>", 0.0)], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return tokenizer


def byte_level(*, ends: bool) -> Tokenizer:
    """Build Qwen's kind of tokenizer; where `ends`, every text closes with `<|endoftext|>`."""
    merges = _merges()
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges)]
    vocabulary = {piece: id_ for id_, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True) for token in (END, TURN, TURN_END)]
    )
    tokenizer.add_tokens([AddedToken(token, special=False) for token in ("<think>", "</think>")])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if ends:
        closing = processors.TemplateProcessing(
            single=f"$A {END}", pair=f"$A {END} $B {END}",
            special_tokens=[(END, tokenizer.token_to_id(END))],
        )  # fmt: skip
        tokenizer.post_processor = processors.Sequence([tokenizer.post_processor, closing])
    return tokenizer


def _merges() -> list[tuple[str, str]]:
    """Order the merges: syllables with their capitals, stop words, each of these after a space."""
    pairs = [pair for a, b in syllables() for pair in ((a, b), (a.capitalize(), b))]
    letters = {letter for pair in pairs for part in pair for letter in part}
    known = dict.fromkeys([*sorted(letters), *(a + b for a, b in pairs)])
    spelling = models.BPE({piece: id_ for id_, piece in enumerate(known)}, pairs)
    merges = dict.fromkeys([*pairs, ("Ċ", "Ċ")])
    for word in (form for plain in PLAIN_WORDS for form in (plain, plain.capitalize())):
        whole, *rest = (token.value for token in spelling.tokenize(word))
        for part in rest:
            merges[whole, part] = None
            whole += part
    return [*merges, *(("Ġ", first + second) for first, second in merges if first != "Ċ")]
