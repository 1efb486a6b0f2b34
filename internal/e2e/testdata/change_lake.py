"""Changes the rows of a pinflow table as another engine would, with pyiceberg.

usage: change_lake.py LAKE_FOLDER TABLE delete FILTER
       change_lake.py LAKE_FOLDER TABLE append ROWS
       change_lake.py LAKE_FOLDER TABLE rollback SNAPSHOT

append puts ROWS of the table's own rows in once more. Prints the snapshot that the table is on then. Where the lake is:
as for read_lake.py.
"""

import sys

from pyiceberg.exceptions import CommitFailedException

from read_lake import load


def main() -> None:
    folder, name, what, arg = sys.argv[1:]
    for _ in range(100):
        table = load(folder, name)
        try:
            if what == "delete":
                table.delete(arg)
            elif what == "append":
                table.append(table.scan(limit=int(arg)).to_arrow())
            else:
                table.manage_snapshots().rollback_to_snapshot(int(arg)).commit()
        except CommitFailedException:
            continue  # pinflow came first
        print(load(folder, name).current_snapshot().snapshot_id)
        return
    sys.exit("others came first each time")


if __name__ == "__main__":
    main()
