package source

import "unsafe"

// pagemapOffset is where /proc/self/pagemap has the entry of a page of ours.
func pagemapOffset(page []byte) int64 {
	return int64(uintptr(unsafe.Pointer(&page[0])) / uintptr(len(page)) * 8)
}
