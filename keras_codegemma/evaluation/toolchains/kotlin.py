"""Kotlin: its compiler, started from an image of its classes, and scripts run as compiled classes.

BabelCode runs `kotlinc -script`, which compiles and runs in one JVM. Here the script is compiled to a class, whose
constructor is the script, and a launcher made by the same compiler starts it, so that compile errors are told from
run-time errors. The compiler is most of the time: with an image of its classes (the JVM's class data sharing, made
once) a program takes 2.0 s of processor time in place of 5.9, each with a process and a box of its own all the same
(`python -m tests.benchmarks.kotlin_compilers`, 2.4.20 on OpenJDK 17; 3.4 s and 10.9 s on the clock, two shared cores).
"""

import os
import shutil
import subprocess
from pathlib import Path

from keras_codegemma.evaluation.toolchains.direct import JAVA_OPTIONS
from keras_codegemma.evaluation.toolchains.toolchain import (
    Toolchain,
    first_line,
    java_settings,
    outside_usr,
    prepared,
)

_COMPILER = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
_OPTIONS = ("-no-reflect", "-nowarn")
_COMPILER_JVM = ("-Xmx1g", "-Xss16m", "-XX:-UsePerfData", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_IMAGE = "compiler.jsa"

_LAUNCHER = """
fun main(arguments: Array<String>) {
    Class.forName(arguments[0]).getConstructor(Array<String>::class.java).newInstance(emptyArray<String>())
}
"""
_SAMPLE = """
package main
import kotlin.math.*
fun driver(x: List<Int>, names: Map<String, Int>): String {
    val sorted = x.sortedBy { abs(it) }.map { it * 2 }.filter { it > 0 }
    return if (sorted.size > 1) "${names["a"] ?: 0}" else names.entries.joinToString { it.key }
}
fun main() { println(driver(arrayListOf(1, 2), hashMapOf("a" to 1))) }
main()
"""
"""Uses what programs use, so that the image has the compiler's classes for it."""


def find() -> Toolchain | None:
    """The compiler that $KOTLINC names, or else the PATH, with the Java runtime of the PATH."""
    compiler = os.environ.get("KOTLINC") or shutil.which("kotlinc")
    java = shutil.which("java")
    runtime = first_line("java", "--version")
    home = Path(compiler).resolve().parents[1] if compiler else None
    if java is None or runtime is None or home is None or not (home / "lib" / "kotlin-compiler.jar").is_file():
        return None
    build = home / "build.txt"
    version = build.read_text(encoding="utf-8").strip() if build.is_file() else "of unknown version"
    command = (java, *_COMPILER_JVM, "-cp", str(home / "lib" / "kotlin-compiler.jar"))
    folder = prepared(_name(version, runtime), lambda folder: _prepare(command, home, folder))
    if folder is None:
        return None
    shared = (java, "-Xlog:disable", f"-XX:SharedArchiveFile={folder / _IMAGE}", *command[1:])
    libraries = [home / "lib" / f"{name}.jar" for name in ("kotlin-stdlib", "kotlin-script-runtime")]
    class_path = os.pathsep.join(["classes", str(folder), *map(str, libraries)])
    return Toolchain(
        version=f"kotlinc {version}, {runtime}",
        file="main.kts",
        compile=(*shared, _COMPILER, "-kotlin-home", str(home), "{file}", "-d", "classes", *_OPTIONS),
        run=(java, *JAVA_OPTIONS, "-cp", class_path, "LauncherKt", "main.Main"),
        read_only=(*java_settings(), *outside_usr(java), str(home), str(folder)),
        processes=128,
        compile_memory_bytes=2 << 30,
    )


def _name(version: str, runtime: str) -> str:
    kept = (character if character.isalnum() or character == "." else "-" for character in f"{version}-{runtime}")
    return "kotlin-" + "".join(kept)


def _prepare(command: tuple[str, ...], home: Path, folder: Path) -> None:
    """Compiles the launcher and a sample, and keeps the launcher and the image of the classes that this loaded."""
    launcher, sample = folder.with_name("Launcher.kt"), folder.with_name("sample.kts")
    launcher.write_text(_LAUNCHER, encoding="utf-8")
    sample.write_text(_SAMPLE, encoding="utf-8")
    for source, target, options in (
        (launcher, folder, ()),
        (sample, folder.with_name("sample"), ("-Xlog:disable", f"-XX:ArchiveClassesAtExit={folder / _IMAGE}")),
    ):
        arguments = (_COMPILER, "-kotlin-home", str(home), str(source), "-d", str(target), *_OPTIONS)
        whole = [command[0], *options, *command[1:], *arguments]
        subprocess.run(whole, capture_output=True, text=True, check=True, timeout=900)
