package grouplog

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"strconv"
	"strings"

	"github.com/logd-dev/logd/internal/entry"
	"github.com/logd-dev/logd/internal/vfs"
)

// Dir is the folder of everything here.
const Dir = ".cluster"

const (
	memberFile = Dir + "/member"
	logDir     = Dir + "/log"
	unnamed    = ".new" // what a file's name ends with that is not whole yet
	filePerm   = 0o600
	dirPerm    = 0o700

	memberMagic   = "logd-member"
	memberVersion = 1
	maxMemberLen  = 256
)

// MaxGroups is how many groups a cluster may have.
const MaxGroups = 64

// Member says who the node is. It never changes under one id.
type Member struct {
	Cluster [16]byte
	ID      uint64
	Name    string
	Groups  int
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (m *Member) valid() bool {
	return m.ID != 0 && entry.ValidName(m.Name) && 1 <= m.Groups && m.Groups <= MaxGroups
}

// encode returns the line of the member file:
//
//	logd-member 1 <cluster> <id> <name> <groups> <CRC-32C of all before>
func (m *Member) encode() []byte {
	if !m.valid() {
		panic(fmt.Sprintf("grouplog: %+v is no member", *m))
	}
	line := fmt.Sprintf("%s %d %x %d %s %d ", memberMagic, memberVersion, m.Cluster, m.ID, m.Name, m.Groups)
	return fmt.Appendf(nil, "%s%08x\n", line, crc32.Checksum([]byte(line), castagnoli))
}

// decodeMember reads the line. Of every version the last word is the checksum.
func decodeMember(b []byte) (m Member, err error) {
	damaged := damage(memberFile, 0, "no line of a member")
	line, ok := strings.CutSuffix(string(b), "\n")
	cut := strings.LastIndexByte(line, ' ') + 1
	if !ok || line[cut:] != fmt.Sprintf("%08x", crc32.Checksum([]byte(line[:cut]), castagnoli)) {
		return m, damaged
	}
	words := strings.Split(line, " ")
	if words[0] != memberMagic || len(words) < 3 {
		return m, damaged
	}
	if v, err := strconv.ParseUint(words[1], 10, 32); err != nil || v == 0 {
		return m, damaged
	} else if v > memberVersion {
		return m, fmt.Errorf("%w: version %d of %s", ErrNewer, v, memberFile)
	}
	if len(words) != 7 {
		return m, damaged
	}
	cluster, err := hex.DecodeString(words[2])
	if err != nil || copy(m.Cluster[:], cluster) != len(m.Cluster) {
		return m, damaged
	}
	m.ID, _ = strconv.ParseUint(words[3], 10, 64)
	m.Name = words[4]
	m.Groups, _ = strconv.Atoi(words[5])
	if !m.valid() || string(m.encode()) != string(b) {
		return m, damaged
	}
	return m, nil
}

// ReadMember returns who this is. The error is fs.ErrNotExist where nobody has
// been made a member, [ErrDamaged] or [ErrNewer].
func ReadMember(fsys vfs.FS) (Member, error) {
	b, err := readFile(fsys, memberFile, maxMemberLen)
	if err != nil {
		return Member{}, err
	}
	return decodeMember(b)
}

// readFile returns all of a file. One that has more than the most bytes that it
// may have, or is no file, is damaged.
func readFile(fsys vfs.FS, name string, most int64) ([]byte, error) {
	b, err := vfs.ReadFile(fsys, name, most)
	if errors.Is(err, vfs.ErrNoFile) {
		return nil, damage(name, most, err.Error())
	}
	return b, err
}

// writeFile gives dir a file with the content, in place of what has the name. It
// is on stable storage on return, and so is its name. named says whether it may
// have got its name, whatever the error.
func writeFile(fsys vfs.FS, dir, name string, b []byte) (named bool, err error) {
	temp := dir + "/" + name + unnamed
	f, err := fsys.OpenFile(temp, vfs.ReadWrite|vfs.Create|vfs.Truncate, filePerm)
	if err != nil {
		return false, err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		fsys.Remove(temp) // to have its room again; else it is removed later
		return false, err
	}
	if err := fsys.Rename(temp, dir+"/"+name); err != nil {
		return true, err
	}
	return true, fsys.SyncDir(dir)
}

// makeDir makes a folder where there is none, for good. One whose name could not
// be synced is removed again: it would look as if it were there for good.
func makeDir(fsys vfs.FS, parent, name string) error {
	made := fsys.Mkdir(name, dirPerm)
	if made != nil && !errors.Is(made, fs.ErrExist) {
		return made
	}
	err := fsys.SyncDir(parent)
	if err != nil && made == nil {
		fsys.Remove(name)
	}
	return err
}

// peersFile has who was a member when this one was admitted, as long as no table says
// who the members are.
const peersFile = Dir + "/peers"

// maxPeersLen is no less than the length of any list of members.
const maxPeersLen = 1 << 20

// NotePeers keeps what says where the other members are, for a member that is yet to be
// made by Create without tables. It is on stable storage on return.
func NotePeers(fsys vfs.FS, b []byte) error {
	if err := makeDir(fsys, ".", Dir); err != nil {
		return err
	}
	_, err := writeFile(fsys, Dir, peersFile[len(Dir)+1:], b)
	return err
}

// Peers returns what NotePeers was given. The error is fs.ErrNotExist where it was not
// called.
func Peers(fsys vfs.FS) ([]byte, error) { return readFile(fsys, peersFile, maxPeersLen) }
