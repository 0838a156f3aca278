// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {DtnDefaults} from "@deeptrust/contracts/dtn-defaults.sol";
import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {IDtn} from "../../src/interfaces/IDtn.sol";
import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {Slots} from "../../src/libraries/Slots.sol";
import {TermsCodec} from "../../src/libraries/TermsCodec.sol";
import {AskerMock} from "./Askers.sol";
import {Test} from "./Test.sol";
import {TokenMock} from "./Tokens.sol";
import {Vm} from "./Vm.sol";

/// @notice An AI contract with a model, seven system nodes, and an owner with money.
abstract contract Fixture is Test {
    uint256 internal constant USD = 1e6;
    uint256 internal constant FEE_REQ = 100;
    uint256 internal constant FEE_RES = 200;
    uint256 internal constant FEE_RES_MAX = 100_000;
    uint256 internal constant CALLBACK_GAS = 500_000;
    bytes32 internal constant SYSTEM = keccak256("system");
    string internal constant MODEL = "gpt-4";

    IDtn internal ai;
    TokenMock internal token;
    AskerMock internal asker;
    Person internal admin;
    Person internal owner;
    Person internal thief;
    Person[7] internal operators;
    bytes32[7] internal nodeIds;

    function setUp() public virtual {
        (admin, owner, thief) = (person("admin"), person("owner"), person("thief"));
        token = newToken();
        ai = deployAi(address(token), admin.addr);
        asker = new AskerMock(address(ai));
        vm.startPrank(admin.addr);
        ai.setModel(MODEL, IDtnNodes.Model({feePerByteReq: 10, feePerByteRes: 20, totalFeePerRes: 1_000, apis: 3}));
        for (uint256 i = 0; i < 7; i++) {
            string memory name = string.concat("node-", vm.toString(i));
            operators[i] = person(name);
            nodeIds[i] = ai.registerNode("system", name, operators[i].addr);
        }
        vm.stopPrank();
        _sortNodes();
        token.mint(owner.addr, 1_000_000 * USD);
        vm.prank(owner.addr);
        token.approve(address(ai), type(uint256).max);
        vm.deal(owner.addr, 100 ether);
    }

    function newToken() internal virtual returns (TokenMock) {
        return new TokenMock(6);
    }

    /// @dev By its artefact, not by `new`: so it is compiled once, as it is deployed, and tests without its optimizer.
    function deployAi(address feeToken, address administrator) internal returns (IDtn) {
        return IDtn(deploy("DtnAi.sol:DtnAi", abi.encode(feeToken, administrator)));
    }

    // ─────────────────────────────────────────── asking ──────────────────────────────────────────────

    function start(uint256 amount) internal returns (uint256 sessionId) {
        vm.prank(owner.addr);
        return ai.startUserSession(amount);
    }

    function question(bytes memory call) internal pure returns (IDtnAi.DtnRequest memory) {
        return IDtnAi.DtnRequest({
            call: call,
            extraParams: "",
            calltype: IDtnAi.CallType.DIRECT,
            feePerByteReq: FEE_REQ,
            feePerByteRes: FEE_RES,
            totalFeePerRes: FEE_RES_MAX
        });
    }

    function callbackTo(address target) internal pure returns (IDtnAi.CallBack memory) {
        return IDtnAi.CallBack(AskerMock.onSuccess.selector, AskerMock.onFailure.selector, target);
    }

    function options() internal pure returns (IDtnAi.RequestOptions memory) {
        return IDtnAi.RequestOptions({timeoutSeconds: 0, keepResponse: false});
    }

    function modelId() internal pure returns (bytes32) {
        return keccak256(bytes(MODEL));
    }

    /// @dev Of `n` nodes of the system namespace.
    function routing(IDtnAi.AggregationType kind, uint32 n) internal pure returns (IDtnAi.DtnRouting memory made) {
        made = DtnDefaults.defaultRoutingSystemValidatedAny();
        (made.aggregationType, made.redundancy) = (kind, n);
    }

    /// @dev Of the first `n` nodes, by name.
    function namedRouting(IDtnAi.AggregationType kind, uint32 n) internal view returns (IDtnAi.DtnRouting memory made) {
        made.trustedNodeIds = new bytes32[](n);
        for (uint256 i = 0; i < n; i++) {
            made.trustedNodeIds[i] = nodeIds[i];
        }
        (made.aggregationType, made.redundancy) = (kind, n);
    }

    /// @dev Asks as the owner with everything at its default; the terms are those that were published.
    function ask(uint256 sessionId) internal returns (bytes32 requestId, bytes memory terms) {
        return ask(sessionId, routing(IDtnAi.AggregationType.ANY, 1), options(), 0);
    }

    function ask(
        uint256 sessionId,
        IDtnAi.DtnRouting memory route,
        IDtnAi.RequestOptions memory chosen,
        uint256 etherWei
    ) internal returns (bytes32 requestId, bytes memory terms) {
        IDtnAi.DtnRequest memory asked = question("What is the weather like?");
        vm.recordLogs();
        vm.prank(owner.addr);
        requestId = ai.request{value: etherWei}(
            sessionId, modelId(), route, asked, callbackTo(address(asker)), owner.addr, CALLBACK_GAS, chosen
        );
        return (requestId, publishedTerms());
    }

    /// @dev The terms in the last {RequestMade} since `recordLogs`.
    function publishedTerms() internal returns (bytes memory terms) {
        return publishedTerms(vm.getRecordedLogs());
    }

    function publishedTerms(Vm.Log[] memory logs) internal pure returns (bytes memory) {
        for (uint256 i = logs.length; i > 0; i--) {
            if (logs[i - 1].topics[0] != IDtnAiEvents.RequestMade.selector) continue;
            return abi.decode(logs[i - 1].data, (bytes));
        }
        revert("no request was made");
    }

    function termsOf(bytes memory encoded) internal view returns (IDtnAiEvents.Terms memory) {
        return this.decode(encoded);
    }

    function idOf(bytes memory encoded) internal view returns (bytes32) {
        IDtnAiEvents.Terms memory terms = termsOf(encoded);
        return Slots.requestIdOf(terms.sessionId, terms.slot, uint256(keccak256(encoded)));
    }

    function decode(bytes calldata encoded) external pure returns (IDtnAiEvents.Terms memory) {
        return TermsCodec.decode(encoded);
    }

    /// @dev What a request with `question(call)` holds, for one node.
    function holdOf(bytes memory call) internal pure returns (uint256) {
        return call.length * FEE_REQ + FEE_RES_MAX;
    }

    // ────────────────────────────────────────── answering ────────────────────────────────────────────

    function success(bytes memory response) internal pure returns (IDtnNodes.Answer memory) {
        return IDtnNodes.Answer({status: IDtnAi.ResponseStatus.SUCCESS, message: "", response: response});
    }

    function failure(string memory message) internal pure returns (IDtnNodes.Answer memory) {
        return IDtnNodes.Answer({status: IDtnAi.ResponseStatus.FAILED, message: message, response: ""});
    }

    function respond(bytes memory terms, IDtnNodes.Answer memory answer) internal {
        vm.prank(operators[0].addr);
        ai.respondToRequest(terms, nodeIds[0], answer);
    }

    /// @dev Seals of the first `n` nodes.
    function seals(bytes memory terms, IDtnNodes.Answer memory answer, uint256 n)
        internal
        view
        returns (IDtnNodes.Seal[] memory made)
    {
        made = new IDtnNodes.Seal[](n);
        bytes32 digest = ai.answerDigest(idOf(terms), answer);
        for (uint256 i = 0; i < n; i++) {
            made[i] = IDtnNodes.Seal(nodeIds[i], sign(operators[i], digest));
        }
    }

    /// @dev Signed ballots of the first nodes, one for each candidate and preference.
    function ballots(bytes memory terms, bytes[] memory candidates, uint256[] memory preferences)
        internal
        view
        returns (IDtnNodes.Ballot[] memory made)
    {
        made = new IDtnNodes.Ballot[](candidates.length);
        bytes memory packed;
        for (uint256 i = 0; i < made.length; i++) {
            made[i].nodeId = nodeIds[i];
            made[i].responseHash = keccak256(candidates[i]);
            made[i].preference = preferences[i];
            packed = abi.encodePacked(packed, made[i].nodeId, made[i].responseHash);
        }
        for (uint256 i = 0; i < made.length; i++) {
            bytes32 digest = ai.ballotDigest(idOf(terms), keccak256(packed), preferences[i]);
            made[i].signature = sign(operators[i], digest);
        }
    }

    /// @dev Seals and ballots come in ascending order of node ids; so do our nodes.
    function _sortNodes() private {
        for (uint256 i = 1; i < 7; i++) {
            for (uint256 j = i; j > 0 && nodeIds[j] < nodeIds[j - 1]; j--) {
                (nodeIds[j], nodeIds[j - 1]) = (nodeIds[j - 1], nodeIds[j]);
                Person memory moved = operators[j];
                operators[j] = operators[j - 1];
                operators[j - 1] = moved;
            }
        }
    }
}
