"""Toolchains that need no preparation: C++, C#, Java, JavaScript and Rust."""

import shutil
from pathlib import Path

from keras_codegemma.evaluation.toolchains.toolchain import Toolchain, first_line, java_settings, outside_usr

JAVA_OPTIONS = ("-Xmx512m", "-Xss16m", "-XX:-UsePerfData", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""For short runs in a box of 1 GB: little memory, no shared files, no second compiler."""


def find_cpp() -> Toolchain | None:
    """GCC, without options, as in the benchmark."""
    version = first_line("g++", "--version")
    if version is None:
        return None
    return Toolchain(version=version, file="main.cpp", compile=("g++", "{file}", "-o", "main.exe"), run=("./main.exe",))


def find_java() -> Toolchain | None:
    """The JDK, compiler and launcher apart."""
    version = first_line("javac", "-version")
    java = shutil.which("java")
    if version is None or java is None:
        return None
    compiler_options = tuple(f"-J{option}" for option in JAVA_OPTIONS)
    return Toolchain(
        version=version,
        file="Main.java",
        compile=("javac", *compiler_options, "-nowarn", "-d", "classes", "{file}"),
        run=(java, *JAVA_OPTIONS, "-cp", "classes", "{main}"),
        read_only=(*java_settings(), *outside_usr(java)),
    )


def find_javascript() -> Toolchain | None:
    """Node; its syntax check stands for a compiler.

    The program's first statement deletes its file, so that what follows cannot read it.
    """
    version = first_line("node", "--version")
    node = shutil.which("node")
    if version is None or node is None:
        return None
    forget = 'require("fs").unlinkSync(__filename);'
    check = f"{node} --check {{file}} && {{ printf %s '{forget}'; cat {{file}}; }} > program.js"
    return Toolchain(
        version=f"node {version}",
        file="main.js",
        compile=("/bin/sh", "-c", check),
        run=(node, "program.js"),
        read_only=outside_usr(node),
    )


def find_rust() -> Toolchain | None:
    """Rust's compiler itself (rustup's is a shim that wants a home)."""
    version = first_line("rustc", "--version")
    root = first_line("rustc", "--print", "sysroot")
    if version is None or root is None:
        return None
    compiler = str(Path(root, "bin", "rustc"))
    return Toolchain(
        version=version,
        file="main.rs",
        compile=(compiler, "{file}", "-o", "main.exe", "-A", "warnings"),
        run=("./main.exe",),
        read_only=outside_usr(compiler),
    )


def find_csharp() -> Toolchain | None:
    """Mono, with the libraries that the benchmark's programs name."""
    compiler = next((name for name in ("mono-csc", "mcs") if shutil.which(name)), None)
    version = first_line("mono", "--version")
    if compiler is None or version is None:
        return None
    libraries = ("System.Web.dll", "System.Web.Extensions.dll", "System.Numerics.dll")
    return Toolchain(
        version=version,
        file="main.cs",
        compile=(compiler, *(f"-r:{name}" for name in libraries), "-nowarn:0219", "-out:main.exe", "{file}"),
        run=("mono", "main.exe"),
        read_only=("/etc/mono",) if Path("/etc/mono").is_dir() else (),
        environment=(("MONO_DISABLE_SHARED_AREA", "1"),),
    )
