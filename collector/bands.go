package collector

import (
	"fmt"
	"slices"

	"mglru_exporter/internal/name"
)

// bands is the heat of a process along its address space.
type bands struct {
	accesses, resident, info *family
	addresses                bool
}

// bandSeries is the number of series that each band has.
const bandSeries = 3

func newBands(process []string, addresses bool) bands {
	banded := slices.Concat(process, []string{"band"})
	info := slices.Concat(banded, []string{"mapping"})
	if addresses {
		info = append(info, "start")
	}
	return bands{
		accesses: desc("address_accesses",
			"Accesses, in the last window, of one of the bands that the process's mapped address space is divided into, in the order of addresses and without the gaps, if the config asks for address_bands: how many pages were found accessed through a mapping, added up over the window's passes and the band's regions of 2 MiB. Bands begin elsewhere only when mappings change. Divide by mglru_address_resident_bytes / 4096 and by mglru_window_passes for the share, 0 to 1. Absent for merged processes, and where the source sees whole mappings only.", banded...),
		resident: desc("address_resident_bytes",
			"Resident bytes of one band of the process's mapped address space, unobserved ones included, without what was not looked at page by page. A band without any was not accessed because there was nothing to access."+shared, banded...),
		info: desc("address_band_info",
			"1 for each band of the process's mapped address space; mapping is the name of the one that has most of its resident bytes, or of its mapped ones if none is resident. With --web.expose-addresses, start is the address where it begins.", info...),
		addresses: addresses,
	}
}

func (b bands) descs() []*family { return []*family{b.accesses, b.resident, b.info} }

func (b bands) emit(e *emitter, r *row) {
	for i := range r.bands {
		band := &r.bands[i]
		labels := slices.Concat(r.labels, []string{fmt.Sprintf("%03d", i)}) // sorts as text, too
		e.gauge(b.accesses, float64(band.Accesses), labels...)
		e.gauge(b.resident, float64(band.Resident), labels...)
		labels = append(labels, name.Escape(band.Mapping))
		if b.addresses {
			labels = append(labels, fmt.Sprintf("%#x", band.Start))
		}
		e.gauge(b.info, 1, labels...)
	}
}
