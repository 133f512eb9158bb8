//! Returns memory to the kernel that only the start of a process needed.
#![allow(unsafe_code)]

use libc::{PF_W, PT_LOAD, c_int, c_void, dl_phdr_info, size_t};

/// Returns freed heap to the kernel and unmaps the pages of the program's code and constants: those
/// still in use are mapped again from the file, page by page, at the next access. To be called once
/// a process has started its work; most of the pages mapped by then are never used again.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no preconditions.
    unsafe {
        libc::malloc_trim(0)
    };
    // SAFETY: `unmap` has the signature that dl_iterate_phdr(3) demands, and uses no data.
    unsafe { libc::dl_iterate_phdr(Some(unmap), std::ptr::null_mut()) };
}

/// The first call is for the program itself; the return value ends the iteration there.
///
/// # Safety
/// `info` must be what dl_iterate_phdr(3) passes.
unsafe extern "C" fn unmap(info: *mut dl_phdr_info, _: size_t, _: *mut c_void) -> c_int {
    // SAFETY: the loader's description is valid during the call, and has `dlpi_phnum` headers.
    let (base, headers) = unsafe {
        (
            (*info).dlpi_addr,
            std::slice::from_raw_parts((*info).dlpi_phdr, (*info).dlpi_phnum.into()),
        )
    };
    // SAFETY: no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as usize;
    for segment in headers
        .iter()
        .filter(|h| h.p_type == PT_LOAD && h.p_flags & PF_W == 0)
    {
        let start = (base + segment.p_vaddr) as usize;
        let (start, end) = (
            start.next_multiple_of(page),
            (start + segment.p_memsz as usize) / page * page,
        );
        if start < end {
            // SAFETY: the range is mapped by the loader: whole pages of one segment. It is not
            // writable, so it holds the bytes of the file and gets the same ones again at the next
            // access. An error changes nothing.
            unsafe { libc::madvise(start as *mut c_void, end - start, libc::MADV_DONTNEED) };
        }
    }
    1
}

#[cfg(test)]
mod tests {
    #[test]
    fn trim_heap_and_constants_stay_as_they_were() {
        let (before, constant) = (
            vec![7; 100_000],
            std::hint::black_box("a constant of the program"),
        );
        super::trim();
        assert_eq!((before[99_999], constant.len()), (7, 25));
    }
}
