package trial

// All returns the trials in the order in which they run: what is cheap first, the disk last.
func All() []Trial {
	return []Trial{
		oomScoreAdj(), kmsg(), sysctlWrite(), cgroupCreate(), overlay(),
		netns(), vxlan(), nft(), iptablesComment(), moduleLoad(), fsync(),
	}
}
