// Shared memory and the asynchronous copies into it, which arrive when they are waited for and not before: until then
// the target holds NaN.
#pragma once

namespace emulation {

inline bool in_shared_memory(const void* address, size_t bytes)
{
    const char* first = current->warp->block->shared->begin();
    const char* at = static_cast<const char*>(address);
    return at >= first && at + bytes <= first + grid.launch->shared_bytes;
}

inline void require_shared(const char* what, const void* address, size_t bytes)
{
    if (!in_shared_memory(address, bytes)) {
        const long at = static_cast<const char*>(address) - current->warp->block->shared->begin();
        fail("%s: %zu bytes at %ld are not in the block's %d bytes of shared memory", what, bytes, at,
             grid.launch->shared_bytes);
    }
    if (reinterpret_cast<uintptr_t>(address) % bytes) fail("%s: address is no multiple of %zu", what, bytes);
}

}  // namespace emulation

template <class Shared>
Shared& shared_memory()
{
    emulation::Block& block = *emulation::current->warp->block;
    if (sizeof(Shared) > static_cast<size_t>(emulation::grid.launch->shared_bytes)) {
        emulation::fail("the kernel wants %zu bytes of shared memory, the launch has %d", sizeof(Shared),
                        emulation::grid.launch->shared_bytes);
    }
    return *reinterpret_cast<Shared*>(block.shared->begin());
}

template <int bytes>
void cp_async(void* shared, const void* global, bool valid = true)
{
    static_assert(bytes == 4 || bytes == 8 || bytes == 16, "cp.async copies 4, 8 or 16 bytes");
    emulation::require_shared("cp_async", shared, bytes);
    if (valid && reinterpret_cast<uintptr_t>(global) % bytes) {
        emulation::fail("cp_async: source is no multiple of %d", bytes);
    }
    memset(shared, 0xFF, bytes);
    emulation::current->copies.push_back(
        {static_cast<char*>(shared), static_cast<const char*>(global), bytes, valid ? bytes : 0});
}

template <int bytes>
void cp_async_cached(void* shared, const void* global, bool valid = true)
{
    cp_async<bytes>(shared, global, valid);
}

inline void cp_async_commit() { emulation::current->groups.push_back(emulation::current->copies.size()); }

template <int groups_left>
void cp_async_wait()
{
    std::vector<emulation::Copy>& copies = emulation::current->copies;
    std::vector<size_t>& groups = emulation::current->groups;
    if (groups.size() <= groups_left) return;
    const size_t n_groups = groups.size() - groups_left, n_copies = groups[n_groups - 1];
    for (size_t i = 0; i < n_copies; ++i) {
        memset(copies[i].target, 0, copies[i].bytes);
        memcpy(copies[i].target, copies[i].source, copies[i].bytes_from_source);
    }
    copies.erase(copies.begin(), copies.begin() + n_copies);
    groups.erase(groups.begin(), groups.begin() + n_groups);
    for (size_t& end : groups) end -= n_copies;
}
