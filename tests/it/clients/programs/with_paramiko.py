"""What a provider's script with paramiko does: python3 with_paramiko.py PORT KEY KNOWN_HOSTS OPERATION WORDS...

A failure is shown as such a script's log would: the exception's type and text, exit status 1.
"""

import os
import sys

import paramiko


def put(sftp, local, remote):
    # confirm=True, the default: STAT after CLOSE, and the sizes compared.
    sftp.put(local, remote)


def put_many(sftp, directory, *files):
    for file in files:
        sftp.put(file, f"{directory}/{os.path.basename(file)}")


def resume(sftp, local, remote):
    done = sftp.stat(remote).st_size
    with open(local, "rb") as source, sftp.open(remote, "ab") as target:
        source.seek(done)
        target.set_pipelined(True)
        while chunk := source.read(32768):
            target.write(chunk)


def put_and_rename(sftp, local, working, remote):
    sftp.put(local, working)
    sftp.posix_rename(working, remote)


def put_with_times(sftp, local, remote):
    sftp.put(local, remote)
    stat = os.stat(local)
    sftp.chmod(remote, 0o640)
    sftp.utime(remote, (stat.st_atime, stat.st_mtime))


def list_directory(sftp, directory):
    for entry in sftp.listdir_attr(directory):
        print(entry.st_size, entry.filename)


def get(sftp, remote, local):
    sftp.get(remote, local)


OPERATIONS = {
    "put": put,
    "put-many": put_many,
    "resume": resume,
    "put-and-rename": put_and_rename,
    "put-with-times": put_with_times,
    "list": list_directory,
    "get": get,
}


def main():
    if sys.argv[1:] == ["--version"]:
        print(paramiko.__version__)
        return
    port, key, known_hosts, operation, *words = sys.argv[1:]
    client = paramiko.SSHClient()
    client.load_host_keys(known_hosts)
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    client.connect(
        "127.0.0.1", int(port), "harbour-nightly", key_filename=key, allow_agent=False, look_for_keys=False
    )
    try:
        with client.open_sftp() as sftp:
            OPERATIONS[operation](sftp, *words)
    finally:
        client.close()


try:
    main()
except Exception as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(1)
