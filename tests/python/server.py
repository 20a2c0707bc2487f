"""A `carrack serve` of one's own: started on a folder, ended by its id."""

import json
import pathlib
import signal
import subprocess


class Server:
    """Runs while it is entered. Addresses are as the binary prints them."""

    def __init__(self, binary, folder, options=()):
        self.binary, self.folder, self.options = binary, pathlib.Path(folder), options

    def __enter__(self):
        command = [self.binary, "--json", "--data", self.folder, "serve", "--listen", "127.0.0.1:0", *self.options]
        self.log = open(f"{self.folder}.log", "ab")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log)
        try:
            lines = [self.process.stdout.readline() for _ in range(2)]
            addresses = [json.loads(line)["listening"] for line in lines]
        except ValueError:
            self.__exit__()
            raise RuntimeError(pathlib.Path(f"{self.folder}.log").read_text()) from None
        self.unix = next(address for address in addresses if address.startswith("unix:"))
        self.tcp = next(address for address in addresses if not address.startswith("unix:"))
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process.stdout.close()
        self.log.close()

    def command(self, *arguments):
        """Runs another command on the same folder and returns what it prints."""
        command = [self.binary, "--data", self.folder, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
