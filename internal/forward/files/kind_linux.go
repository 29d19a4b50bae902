package files

import "golang.org/x/sys/unix"

// kindOf tells who changes what is in a folder.
func kindOf(dir string) kind {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return unknown
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC,
		unix.V9FS_MAGIC, unix.AFS_SUPER_MAGIC, unix.CODA_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC, unix.OCFS2_SUPER_MAGIC:
		return remote
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.TMPFS_MAGIC, zfsMagic:
		return local // EXT4_SUPER_MAGIC is that of ext2 and ext3, too
	}
	return unknown
}

const zfsMagic = 0x2fc12fc1
