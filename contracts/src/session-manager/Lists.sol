// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Lists
/// @notice Doubly linked lists of session ids: adding at either end and removing from anywhere cost the same at any
/// length.
/// @dev The list is a ring through END, whose links are the last and the first. END is not zero, so that a session
/// that moves only ever overwrites what is there. An id is in a list at most once: callers see to it.
library Lists {
    struct Link {
        uint256 previous;
        uint256 next;
    }

    struct List {
        mapping(uint256 id => Link) links;
    }

    /// No session has this id: its high 160 bits are the address of a purse.
    uint256 private constant END = type(uint256).max;

    /// @dev The first id, or 0 if the list is empty.
    function first(List storage list) internal view returns (uint256) {
        return next(list, END);
    }

    /// @dev The last id, or 0 if the list is empty.
    function last(List storage list) internal view returns (uint256) {
        uint256 id = list.links[END].previous;
        return id == END ? 0 : id;
    }

    /// @dev The id after `id`, which is in the list, or 0 if there is none.
    function next(List storage list, uint256 id) internal view returns (uint256) {
        uint256 following = list.links[id].next;
        return following == END ? 0 : following;
    }

    function contains(List storage list, uint256 id) internal view returns (bool) {
        return list.links[id].next != 0;
    }

    function pushFirst(List storage list, uint256 id) internal {
        uint256 following = list.links[END].next;
        _insert(list, id, END, following == 0 ? END : following);
    }

    function pushLast(List storage list, uint256 id) internal {
        uint256 previous = list.links[END].previous;
        _insert(list, id, previous == 0 ? END : previous, END);
    }

    function remove(List storage list, uint256 id) internal {
        Link memory link = list.links[id];
        list.links[link.previous].next = link.next;
        list.links[link.next].previous = link.previous;
        delete list.links[id];
    }

    function _insert(List storage list, uint256 id, uint256 previous, uint256 following) private {
        list.links[id] = Link(previous, following);
        list.links[previous].next = id;
        list.links[following].previous = id;
    }
}
