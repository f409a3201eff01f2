"""Conversations to tune on: generated code that passes its tests, and mathematics.

    python -m training.instructions code ANSWERS.jsonl --to DIR --run-untrusted-programs --benchmarks FOLDER
    python -m training.instructions mathematics gsm8k FILE --to chats.jsonl --benchmarks FOLDER

CodeGemma's report (arXiv 2406.11409, section 2.3) names both for 7B-IT: MATH, GSM8K, MathQA and synthetic algebra, and
synthetic code after OSS-Instruct that was filtered for correctness. It publishes neither the code nor the filter.
"""
