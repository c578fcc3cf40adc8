"""Generates the stubs of `protos/` into a directory, or checks that the ones checked in are current.

Runs in a small virtual environment of its own (`make protos`), with the oldest grpcio-tools the project
supports: generated code refuses runtimes older than its generator.

    generate_stubs.py write      writes client_stub/gen
    generate_stubs.py check      exits 1 and names each file that differs
    generate_stubs.py image F    writes a descriptor set with comments to F, for `buf lint` and `buf breaking`
"""

import filecmp
import importlib.metadata
import shutil
import sys
import sysconfig
import tempfile
from importlib.resources import files
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
STUBS = ROOT / "client_stub" / "gen"
VALIDATE_PROTO = "buf/validate/validate.proto"


def main() -> int:
    """Does what the first argument says; returns the process's exit code."""
    match sys.argv[1:]:
        case ["write"]:
            write_stubs()
            return 0
        case ["check"]:
            with tempfile.TemporaryDirectory() as directory:
                generate(Path(directory))
                return report_differences(Path(directory), STUBS)
        case ["image", target]:
            run_protoc(f"--descriptor_set_out={target}", "--include_imports", "--include_source_info", *our_protos())
            return 0
    sys.stderr.write(__doc__ or "")
    return 2


def write_stubs() -> None:
    """Replaces the stubs checked in; leaves them alone if generating fails."""
    with tempfile.TemporaryDirectory() as directory:
        generate(Path(directory))
        for package in ("iap", "buf"):
            shutil.rmtree(STUBS / package, ignore_errors=True)
            shutil.copytree(Path(directory) / package, STUBS / package)


def our_protos() -> list[str]:
    """Returns the contract's files, relative to the proto root, sorted."""
    return sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))


def generate(target: Path) -> None:
    """Writes messages, services and their type stubs below `target`."""
    run_protoc(
        f"--python_out={target}",
        f"--pyi_out={target}",
        f"--grpc_python_out={target}",
        # Concrete: a server may leave RPCs to the base class, which answers UNIMPLEMENTED.
        f"--mypy_grpc_out=generate_concrete_servicer_stubs:{target}",
        *our_protos(),
    )
    run_protoc(f"--python_out={target}", f"--pyi_out={target}", VALIDATE_PROTO)
    # `buf` stays a namespace package: other distributions may bring parts of it.
    for directory in {path.parent for path in (target / "iap").rglob("*")}:
        (directory / "__init__.py").touch()
    (target / "iap" / "py.typed").touch()


def run_protoc(*arguments: str) -> None:
    """Runs protoc with our protos, Google's and protovalidate's in reach; exits on its errors."""
    with tempfile.TemporaryDirectory() as directory:
        descriptors = Path(directory) / "validate.binpb"
        descriptors.write_bytes(validate_descriptor_set())
        google_protos = importlib.metadata.distribution("googleapis-common-protos").locate_file("")
        plugin = Path(sysconfig.get_path("scripts")) / "protoc-gen-mypy_grpc"
        code = protoc.main(
            [
                "protoc",
                f"--plugin=protoc-gen-mypy_grpc={plugin}",
                f"--descriptor_set_in={descriptors}",
                f"--proto_path={PROTOS}",
                f"--proto_path={google_protos}",
                f"--proto_path={files('grpc_tools') / '_proto'}",
                *arguments,
            ]
        )
    if code:
        sys.exit(code)


def validate_descriptor_set() -> bytes:
    """Returns buf/validate/validate.proto and what it imports as a descriptor set.

    The pinned protovalidate wheel carries the file's descriptor; the project keeps no copy of the file.
    """
    descriptors = descriptor_pb2.FileDescriptorSet()
    descriptors.file.add().MergeFromString(validate_pb.desc().proto.to_binary())
    return descriptors.SerializeToString(deterministic=True)


def report_differences(generated: Path, checked_in: Path) -> int:
    """Names each file that differs between two stub directories; returns 1 if there is any."""
    names = {
        path.relative_to(root)
        for root in (generated, checked_in)
        for path in root.rglob("*.py*")
        if path.suffix in {".py", ".pyi"}
    }
    different = sorted(
        name
        for name in names
        if not (generated / name).exists()
        or not (checked_in / name).exists()
        or not filecmp.cmp(generated / name, checked_in / name, shallow=False)
    )
    for name in different:
        sys.stdout.write(f"differs from protos/: {(checked_in / name).relative_to(ROOT)}\n")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
